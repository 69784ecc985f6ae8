#include "runtime/narrow.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace reducenet {
namespace {

Layout layout_of(DType dtype) {
  return dtype == DType::bf16 ? Layout::halves : Layout::bytes;
}

/// Layers whose sums of 255·127 an int32 holds beside a bias of 2³⁰.
bool takes_narrow(const Step& step, const Buffer& input, DType dtype) {
  const auto* conv = std::get_if<Conv2d>(&step.op);
  const bool is_product = std::holds_alternative<Gemm>(step.op);
  if ((!conv && !is_product) || step.weight.empty() || element_count(step.output.shape) == 0) return false;
  const Shape &w = step.weight_shape, &x = step.inputs[0].shape;
  constexpr int64_t kMostProducts = (int64_t{1} << 30) / (255 * 127);
  if (input.shape != x || element_count(w) / w[0] >= kMostProducts) return false;
  if (is_product) return (x.size() == 2 || x.size() == 4) && x[0] == step.output.shape[0];
  return dtype != DType::bf16 || conv->groups == 1 || w[1] > 1;
}

/// Marks the steps that can be narrow and `wanted` says so, in order.
class Marking {
 public:
  Marking(Program& program, DType dtype)
      : program_(program),
        layout_(layout_of(dtype)),
        known_(program.steps.size(), {-1, -1, -1}),
        moves_(program.buffers.size(), {-1, -1}) {
    for (size_t i = 0; i < program.steps.size(); ++i) {
      const Step& step = program.steps[i];
      if (!step.inputs.empty() && buffer(step.inputs[0]).can_narrow &&
          takes_narrow(step, buffer(step.inputs[0]), dtype))
        candidates_.push_back(i);
    }
  }

  const std::vector<size_t>& candidates() const { return candidates_; }

  void mark(const std::vector<bool>& wanted) {
    for (Buffer& b : program_.buffers) b.narrow = false;
    for (Step& step : program_.steps) step.in_layout = step.out_layout = std::nullopt;
    for (size_t k = 0; k < candidates_.size(); ++k) {
      if (!wanted[k]) continue;
      Step& step = program_.steps[candidates_[k]];
      step.in_layout = layout_;
      step.out_layout = std::holds_alternative<Gemm>(step.op) ? Layout::plain : Layout::blocked;
      buffer(step.inputs[0]).narrow = true;
    }
    // What is added to a narrow output is narrow itself, so its producer may store it so.
    for (bool changed = true; changed;) {
      changed = false;
      for (Step& step : program_.steps) {
        if (step.in_layout != layout_ || step.out_layout != Layout::blocked || step.epilogue.bends()) continue;
        const Buffer& out = buffer(step.output);
        if (!out.narrow || out.shape != step.output.shape) continue;
        if (step.epilogue.residual >= 0) {
          const Port& port = step.inputs[static_cast<size_t>(step.epilogue.residual)];
          if (!buffer(port).can_narrow || buffer(port).shape != port.shape) continue;
          buffer(port).narrow = true;
        }
        step.out_layout = layout_;
        changed = true;
      }
    }
  }

  /// Steps, and every tensor that is made in one form and read in the other.
  double cost(const NarrowCosts& costs) {
    double sum = 0;
    std::vector<Layout> made(program_.buffers.size(), Layout::plain);
    std::vector<std::array<bool, 2>> moved(program_.buffers.size());
    for (size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      double& known = known_[i][!step.in_layout ? 0 : step.out_layout == layout_ ? 2 : 1];
      if (known < 0) known = costs.step(step);
      sum += known;
      for (size_t k = 0; k < step.inputs.size(); ++k) {
        const auto& wants = static_cast<int>(k) == step.epilogue.residual ? step.out_layout : step.in_layout;
        const auto index = static_cast<size_t>(step.inputs[k].buffer);
        const bool narrow = wants == layout_;
        const Layout from = made[index];
        if (narrow == (from == layout_) || std::exchange(moved[index][narrow], true)) continue;
        double& move = moves_[index][narrow];
        if (move < 0) move = costs.move(step.inputs[k].shape, from, narrow ? layout_ : Layout::blocked);
        sum += move;
      }
      made[static_cast<size_t>(step.output.buffer)] =
          step.out_layout.value_or(step.output.shape.size() == 4 ? Layout::blocked : Layout::plain);
    }
    return sum;
  }

 private:
  Buffer& buffer(const Port& port) { return program_.buffers[static_cast<size_t>(port.buffer)]; }

  Program& program_;
  Layout layout_;
  std::vector<size_t> candidates_;
  std::vector<std::array<double, 3>> known_;  // by step and form; −1: not asked for yet, as below
  std::vector<std::array<double, 2>> moves_;  // by buffer, out of the narrow form and into it
};

}  // namespace

Graph roundings_as_clamps(Graph graph) {
  using Kind = Activation::Kind;
  for (Node& node : graph.nodes) {
    auto* op = std::get_if<Activation>(&node.op);
    if (!op || op->kind != Kind::bytes) continue;
    *op = {Kind::clip, -op->alpha * op->beta, op->alpha * (255 - op->beta)};
  }
  return graph;
}

void mark_narrow(Program& program, DType dtype, const Quantization* scales) {
  if (dtype == DType::f32) return;
  for (Buffer& b : program.buffers) {
    const bool fits = b.shape.size() == 4 || b.shape.size() == 2;
    if (dtype == DType::bf16 || !scales) {
      b.can_narrow = fits;
    } else if (const auto found = scales->find(b.name); found != scales->end() && fits) {
      b.can_narrow = true;
      b.affine = {static_cast<float>(found->second.scale), static_cast<int32_t>(found->second.zero)};
    }
  }
  Marking marking(program, dtype);
  marking.mark(std::vector<bool>(marking.candidates().size(), true));
}

void keep_what_pays(Program& program, DType dtype, const NarrowCosts& costs) {
  Marking marking(program, dtype);
  const size_t n = marking.candidates().size();
  const auto cost_of = [&](const std::vector<bool>& wanted) {
    marking.mark(wanted);
    return marking.cost(costs);
  };
  double least = std::numeric_limits<double>::infinity();
  std::vector<bool> best(n, false);
  for (const bool start : {false, true}) {
    std::vector<bool> wanted(n, start);
    double cost = cost_of(wanted);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t first = 0; first < n; ++first) {
        std::vector<bool> better = wanted;
        for (const bool value : {false, true}) {
          std::vector<bool> other = wanted;
          for (size_t last = first; last < n; ++last) {
            if (other[last] == value) continue;
            other[last] = value;
            if (const double now = cost_of(other); now < cost) {
              cost = now;
              better = other;
              changed = true;
            }
          }
        }
        wanted = better;
      }
    }
    if (cost < least) {
      least = cost;
      best = wanted;
    }
  }
  marking.mark(best);
}

}  // namespace reducenet
