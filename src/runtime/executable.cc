#include "runtime/executable.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "reducenet/error.h"
#include "runtime/arena.h"
#include "runtime/kernels/rows.h"
#include "runtime/narrow.h"
#include "runtime/skip.h"
#include "runtime/tuner.h"

namespace reducenet {
namespace {

/// A part of less cost than this, about 3 µs, is not worth handing to another thread.
constexpr double kLeastWork = 160'000;
/// The kernel that moves a tensor from one layout to another.
const Kernel* reorder_kernel(Layout from, Layout to) {
  const Step identity{.op = Identity{}};
  const auto all = kernels();
  return *std::find_if(all.begin(), all.end(), [&](const Kernel* kernel) {
    return kernel->in == from && kernel->out == to && kernel->supports(identity);
  });
}

}  // namespace

Executable::Executable(const Graph& graph, const PlanOptions& options, const KernelFilter& allowed)
    : options_(options),
      program_(lower(options.dtype == DType::i8 ? roundings_as_clamps(graph) : graph, options.batch)) {
  if (options.threads < 1) throw Error(ErrorKind::usage, "a plan needs at least one thread");
  for (const int input : program_.inputs) {
    buffer(input).offset = input_size_;
    input_size_ += element_count(buffer(input).shape);
    if (!buffer(input).shape.empty()) batch_ = buffer(input).shape[0];
  }
  const auto weighty = std::count_if(program_.steps.begin(), program_.steps.end(),
                                     [](const Step& step) { return !step.weight.empty(); });
  most_error_ = options_.tolerance / std::sqrt(static_cast<double>(std::max<int64_t>(weighty, 1)));
  for (Step& step : program_.steps) step.threads = options_.threads;
  std::optional<Tuner> tuner;
  if (options_.tune != Tune::none) tuner.emplace(options_, program_.steps, program_.buffers.size());
  if (options.dtype != DType::f32) narrow(graph, allowed, tuner ? &*tuner : nullptr);
  choose_kernels(allowed, tuner ? &*tuner : nullptr);
  place_outputs();
  find_skips(program_);
  lay_out();
}

/// Whether a tensor may lie so: blocks are of images, bytes and halves of rows of a matrix too.
bool Executable::can_lie(const Port& port, Layout layout) const {
  const bool image = port.shape.size() == 4, narrow = layout == Layout::bytes || layout == Layout::halves;
  return layout == Layout::plain ||
         ((image || (narrow && port.shape.size() == 2)) && port.shape == buffer(port.buffer).shape);
}

/// The kernels that can run a step, reading and writing what it asks for.
std::vector<const Kernel*> Executable::candidates(const Step& step, const KernelFilter& allowed) const {
  std::vector<const Kernel*> found;
  for (const Kernel* kernel : kernels()) {
    bool fits = kernel->supports(step) && allowed(*kernel, step) && can_lie(step.output, kernel->out);
    fits = fits && kernel->in == step.in_layout.value_or(kernel->in) &&
           kernel->out == step.out_layout.value_or(kernel->out);
    for (size_t i = 0; fits && i < step.inputs.size(); ++i) {
      fits = can_lie(step.inputs[i], layout_of_input(*kernel, step, i));
    }
    if (fits) found.push_back(kernel);
  }
  return found;
}

/// The kernel that is cheapest, `extra` costs included, and its own cost; what a kernel adds to the error stays below
/// `most_error`. `compares`: the cost is compared with those of other forms, so that one kernel alone is timed as well.
Executable::Choice Executable::cheapest(const Step& step, const KernelFilter& allowed, Tuner* tuner, bool compares,
                                        const std::function<double(const Kernel&)>& extra) const {
  const std::vector<const Kernel*> found = candidates(step, allowed);
  // A kernel that the rule sees far behind is not worth running even once.
  constexpr double kHopeless = 8;
  const auto by_rule = [&](const Kernel* kernel) { return extra(*kernel) + kernel->cost(step); };
  Choice best;
  double least = std::numeric_limits<double>::infinity(), best_by_rule = least;
  for (const Kernel* kernel : found) best_by_rule = std::min(best_by_rule, by_rule(kernel));
  for (const Kernel* kernel : found) {
    double cost = kernel->cost(step);
    if (tuner && (found.size() > 1 || compares)) {
      if (by_rule(kernel) > kHopeless * best_by_rule) continue;
      cost = tuner->cost(step, *kernel);
    }
    const double in_all = extra(*kernel) + cost;
    if (in_all >= least) continue;
    const double error = kernel->error ? kernel->error(step) : 0;
    if (error > most_error_) continue;
    least = in_all;
    best = {kernel, cost, error};
  }
  return best;
}

/// Goes through the steps in order; each takes the kernel that is cheapest, the reordering of its inputs included.
void Executable::choose_kernels(const KernelFilter& allowed, Tuner* tuner) {
  std::vector<Step> steps = std::move(program_.steps);
  program_.steps.clear();
  for (Step& step : steps) {
    const Choice choice = cheapest(step, allowed, tuner, /*compares=*/false, [&](const Kernel& kernel) {
      double cost = 0;
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        const Port& port = step.inputs[i];
        const bool same = buffer(port.buffer).layout == layout_of_input(kernel, step, i);
        if (!same) cost += 4.0 * static_cast<double>(element_count(port.shape));
      }
      return cost;
    });
    step.kernel = choice.kernel;
    step.cost = choice.cost;
    step.error = choice.error;
    if (!step.kernel) {
      throw Error(ErrorKind::unsupported, "node '" + step.node + "' (" + describe(step.op) + "): no kernel can run it");
    }
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      step.inputs[i].buffer = add_reorder(step.inputs[i].buffer, layout_of_input(*step.kernel, step, i), step.node);
    }
    buffer(step.output.buffer).layout = step.kernel->out;
    step.out_affine = buffer(step.output.buffer).affine;
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      (static_cast<int>(i) == step.epilogue.residual ? step.residual_affine : step.in_affine) =
          buffer(step.inputs[i].buffer).affine;
    }
    if (!step.kernel->run) {
      buffer(step.output.buffer).view_of = step.inputs[0].buffer;
      continue;
    }
    step.kernel->pack(step);
    std::vector<double>().swap(step.weight);
    program_.steps.push_back(std::move(step));
  }
}

void Executable::narrow(const Graph& graph, const KernelFilter& allowed, Tuner* tuner) {
  std::optional<Quantization> scales;
  if (options_.dtype == DType::i8) {
    scales = quantization(graph);
    if (!scales)
      throw Error(ErrorKind::usage, "a plan in int8 needs the ranges of the activations: calibrate the model");
  } else if (options_.dtype != DType::bf16) {
    throw Error(ErrorKind::unsupported, "plans are f32, bf16 or i8, not " + std::string(to_string(options_.dtype)));
  }
  mark_narrow(program_, options_.dtype, scales ? &*scales : nullptr);
  if (options_.narrow_everywhere) return;
  constexpr double kStep = 3000;  // what one step more costs: 60 ns
  keep_what_pays(program_, options_.dtype,
                 {[&](const Step& step) {
                    const Choice choice = cheapest(step, allowed, tuner, /*compares=*/true, [](auto&) { return 0.0; });
                    return choice.kernel ? choice.cost : std::numeric_limits<double>::infinity();
                  },
                  [&](const Shape& shape, Layout from, Layout to) {
                    Step step{.op = Identity{}, .inputs = {{0, shape}}, .output = {1, shape}};
                    if (shape.size() != 4 && from == Layout::blocked) from = Layout::plain;
                    if (shape.size() != 4 && to == Layout::blocked) to = Layout::plain;
                    const Kernel& kernel = *reorder_kernel(from, to);
                    return kStep + (tuner ? tuner->cost(step, kernel) : kernel.cost(step));
                  }});
}

/// The buffer itself when it has the layout, else a copy that has it (made once).
int Executable::add_reorder(int from, Layout to, std::string node) {
  if (buffer(from).layout == to) return from;
  const Kernel& kernel = *reorder_kernel(buffer(from).layout, to);
  for (const Step& step : program_.steps) {
    if (step.kernel == &kernel && step.inputs[0].buffer == from) return step.output.buffer;
  }
  const Shape shape = buffer(from).shape;
  const narrow::Affine affine = buffer(from).affine;
  program_.buffers.push_back({.name = buffer(from).name, .shape = shape, .layout = to, .affine = affine});
  const int made = static_cast<int>(program_.buffers.size()) - 1;
  Step step{
      .node = std::move(node), .op = Identity{}, .inputs = {{from, shape}}, .output = {made, shape}, .kernel = &kernel};
  step.in_affine = step.out_affine = affine;
  step.cost = kernel.cost(step);
  program_.steps.push_back(std::move(step));
  return made;
}

int Executable::root(int index) const {
  while (buffer(index).view_of >= 0) index = buffer(index).view_of;
  return index;
}

/// Outputs are written where the caller wants them; only what is an input, a constant or an output already is copied.
void Executable::place_outputs() {
  for (int& output : program_.outputs) {
    output = add_reorder(output, Layout::plain, buffer(output).name);
    if (buffer(root(output)).place != Buffer::Place::arena) {
      const Shape shape = buffer(output).shape;
      program_.buffers.push_back({.name = buffer(output).name, .shape = shape});
      const int copy = static_cast<int>(program_.buffers.size()) - 1;
      program_.steps.push_back({.node = buffer(output).name,
                                .op = Identity{},
                                .inputs = {{output, shape}},
                                .output = {copy, shape},
                                .kernel = &kCopy});
      output = copy;
    }
    Buffer& place = buffer(root(output));
    place.place = Buffer::Place::output;
    place.offset = output_size_;
    output_size_ += element_count(place.shape);
  }
}

/// Lifetimes of what lies in the arena, then its offsets, then scratch; and into how many parts each step is divided.
void Executable::lay_out() {
  std::vector<Lifetime> lifetimes(program_.buffers.size());
  for (int i = 0; i < static_cast<int>(program_.steps.size()); ++i) {
    Step& step = program_.steps[static_cast<size_t>(i)];
    const Buffer& made = buffer(root(step.output.buffer));
    if (made.place == Buffer::Place::arena) {
      lifetimes[static_cast<size_t>(root(step.output.buffer))] = {storage(made.shape, made.layout), i, i};
    }
    for (const Port& port : step.inputs) lifetimes[static_cast<size_t>(root(port.buffer))].last = i;
    step.parts = static_cast<int>(std::clamp(step.cost / kLeastWork, 1.0, static_cast<double>(options_.threads)));
    scratch_ = std::max(scratch_, round_up(step.scratch, kBlock));
  }
  const ArenaLayout layout = place(lifetimes);
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    if (program_.buffers[i].place == Buffer::Place::arena) program_.buffers[i].offset = layout.offsets[i];
  }
  scratch_at_ = layout.size;
}

std::unique_ptr<Plan::Arena> Executable::arena() const {
  return std::make_unique<Plan::Arena>(arena_floats(), program_.buffers.size(), options_.threads);
}

void Executable::run(const float* input, float* output, Plan::Arena& arena, double* times) const noexcept {
  for (size_t i = 0; i < program_.buffers.size(); ++i) {
    const Buffer& at = program_.buffers[static_cast<size_t>(root(static_cast<int>(i)))];
    switch (at.place) {  // kernels write no input and no constant
      case Buffer::Place::arena:
        arena.buffers[i] = arena.memory.data() + at.offset;
        break;
      case Buffer::Place::input:
        arena.buffers[i] = const_cast<float*>(input) + at.offset;
        break;
      case Buffer::Place::output:
        arena.buffers[i] = output + at.offset;
        break;
      case Buffer::Place::constant:
        arena.buffers[i] = const_cast<float*>(at.constant.data());
        break;
    }
  }
  float* const scratch = arena.memory.data() + scratch_at_;
  for (const Step& step : program_.steps) {
    const bool closed = step.gate >= 0 && *arena.buffers[static_cast<size_t>(step.gate)] == 0;
    if (closed && step.zeroed < 0) {
      if (times) *times++ = 0;
      continue;
    }
    if (closed) {
      const int masked = step.inputs[static_cast<size_t>(step.zeroed)].buffer;
      const Buffer& x = buffer(masked);
      std::fill_n(arena.buffers[static_cast<size_t>(masked)], storage(x.shape, x.layout), 0.0f);
    }
    const auto start = times ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point{};
    arena.threads.run(step.parts, [&](int part, int parts) noexcept {
      step.kernel->run({step, arena.buffers.data(), scratch + part * scratch_, part, parts});
    });
    if (times) *times++ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
}

}  // namespace reducenet
