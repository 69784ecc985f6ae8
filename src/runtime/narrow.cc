#include "runtime/narrow.h"

#include <algorithm>

namespace reducenet {
namespace {

/// Dense convolutions whose sums of 255·127 an int32 holds.
bool takes_narrow(const Step& step, const Buffer& input) {
  const auto* op = std::get_if<Conv2d>(&step.op);
  if (!op || op->groups != 1 || step.weight.empty() || element_count(step.output.shape) == 0) return false;
  const Shape& w = step.weight_shape;
  constexpr int64_t kMostProducts = (int64_t{1} << 31) / (255 * 127);
  return input.shape == step.inputs[0].shape && w[1] * w[2] * w[3] < kMostProducts;
}

}  // namespace

void mark_narrow(Program& program, DType dtype, const Quantization* scales) {
  if (dtype == DType::f32) return;
  const Layout layout = dtype == DType::bf16 ? Layout::halves : Layout::bytes;
  const auto buffer = [&](const Port& port) -> Buffer& { return program.buffers[static_cast<size_t>(port.buffer)]; };
  for (Buffer& b : program.buffers) {
    if (dtype == DType::bf16 || !scales) {
      b.can_narrow = b.shape.size() == 4;
    } else if (const auto found = scales->find(b.name); found != scales->end() && b.shape.size() == 4) {
      b.can_narrow = true;
      b.affine = {static_cast<float>(found->second.scale), static_cast<int32_t>(found->second.zero)};
    }
  }
  for (Step& step : program.steps) {
    if (!step.inputs.empty() && takes_narrow(step, buffer(step.inputs[0])) && buffer(step.inputs[0]).can_narrow) {
      step.in_layout = layout;
      step.out_layout = Layout::blocked;
      buffer(step.inputs[0]).narrow = true;
    }
  }
  // What is added to a narrow output is narrow itself, so its producer may store it so.
  for (bool changed = true; changed;) {
    changed = false;
    for (Step& step : program.steps) {
      if (step.in_layout != layout || step.out_layout == layout || step.epilogue.curve) continue;
      const Buffer& out = buffer(step.output);
      if (!out.narrow || out.shape != step.output.shape) continue;
      if (step.epilogue.residual >= 0) {
        const Port& port = step.inputs[static_cast<size_t>(step.epilogue.residual)];
        if (!buffer(port).can_narrow || buffer(port).shape != port.shape) continue;
        buffer(port).narrow = true;
      }
      step.out_layout = layout;
      changed = true;
    }
  }
}

}  // namespace reducenet
