#include "train/open_batch.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "graph/numbers.h"
#include "reducenet/error.h"
#include "train/network.h"

namespace reducenet::train {
namespace {

/// A Reshape's target whose first number, the batch, is what the others leave, or that of the input.
Tensor with_open_batch(std::vector<int64_t> sizes) {
  sizes[0] = std::ranges::find(sizes, -1) == sizes.end() ? -1 : 0;
  return Tensor::of({std::ssize(sizes)}, std::span<const int64_t>(sizes));
}

/// A Gather of 0, 1, 2, … from all elements in a row is the Reshape to the shape of its indices: what exporters make of
/// a change of strides.
void reshape_by_strides(Graph& graph) {
  const Uses uses(graph);
  for (Node& node : graph.nodes) {
    const Tensor* const indices = std::holds_alternative<Gather>(node.op) ? graph.constant(node.inputs.at(1)) : nullptr;
    const NodeId row = indices != nullptr ? uses.producer_of(node.inputs[0]) : NodeId{};
    if (!row || !std::holds_alternative<Reshape>(graph[row].op)) continue;
    const std::optional<Shape>& shape = graph[node.inputs[0]].shape;
    std::vector<int64_t> in_order(static_cast<size_t>(indices->size()));
    std::iota(in_order.begin(), in_order.end(), 0);
    if (!shape || *shape != Shape{indices->size()} || indices->to_ints() != in_order) continue;
    const Shape sizes = indices->shape();
    const ValueId target =
        graph.add_constant(node.name + ".shape", Tensor::of({std::ssize(sizes)}, std::span<const int64_t>(sizes)));
    node.op = Reshape{};
    node.inputs = {graph[row].inputs.at(0), target};
  }
  remove_dead(graph);
}

/// Which values depend on the images, node by node in the graph's order.
class OfImages {
 public:
  explicit OfImages(const Graph& graph) : values_{graph.inputs.front().index}, leading_{values_} {}
  bool contains(ValueId id) const { return id && values_.contains(id.index); }
  /// The batch is the value's first axis, or its outermost factor: no Transpose has moved it, or it is added to such a
  /// one.
  bool batch_leads(ValueId id) const { return leading_.contains(id.index); }
  /// True when the node reads such a value; what it makes is then one too.
  bool reaches(const Node& node) {
    if (std::ranges::none_of(node.inputs, [&](ValueId id) { return contains(id); })) return false;
    const auto* const transpose = std::get_if<Transpose>(&node.op);
    const bool keeps = transpose == nullptr || (!transpose->perm.empty() && transpose->perm[0] == 0);
    const bool leads = keeps && std::ranges::any_of(node.inputs, [&](ValueId id) { return batch_leads(id); });
    for (const ValueId made : node.outputs) {
      values_.insert(made.index);
      if (leads) leading_.insert(made.index);
    }
    return true;
  }

 private:
  std::unordered_set<int32_t> values_, leading_;
};

/// The exporter's batch is in a Reshape's target where the target, written or computed from sizes, says every size of
/// what is made of images. It is the first of them, or a factor of the first.
void open_targets(Graph& graph, int64_t exported) {
  if (exported < 0) return;
  const std::unordered_map<int32_t, Tensor> numbers = known_numbers(graph);
  OfImages of_images(graph);
  for (Node& node : graph.nodes) {
    if (!of_images.reaches(node)) continue;
    auto* const reshape = std::get_if<Reshape>(&node.op);
    const Tensor* target = reshape != nullptr ? graph.constant(node.inputs.at(1)) : nullptr;
    if (reshape != nullptr && target == nullptr) {
      const auto computed = numbers.find(node.inputs[1].index);
      if (computed != numbers.end()) target = &computed->second;
    }
    if (target == nullptr || target->size() == 0) continue;
    std::vector<int64_t> sizes = target->to_ints();
    const auto has = [&](int64_t size) { return std::ranges::find(sizes, size) != sizes.end(); };
    const bool is_part = sizes[0] > exported && (!has(-1) || of_images.batch_leads(node.inputs[0]));
    if ((sizes[0] != exported && !is_part) || (reshape->allow_zero && has(0))) continue;
    const std::optional<Shape>& from = graph[node.inputs[0]].shape;
    if (has(-1) && from && !from->empty() && from->front() != sizes[0]) {  // the input's first axis is not this one
      const std::optional<Shape>& to = graph[node.outputs[0]].shape;
      if (!to || to->size() != sizes.size() || std::ranges::any_of(*to, [](int64_t size) { return size < 0; }))
        continue;
      sizes = *to;
    }
    reshape->allow_zero = false;
    node.inputs[1] = graph.add_constant(graph[node.inputs[1]].name + ".open", with_open_batch(std::move(sizes)));
  }
}

/// The axis that a Concat joins, counted from the front; −1 where sizes along it are not known.
int64_t joined_axis(const Graph& graph, const Node& node) {
  const auto& [axis] = std::get<Concat>(node.op);
  for (const ValueId part : node.inputs) {
    const std::optional<Shape>& shape = graph[part].shape;
    if (!shape || shape->at(static_cast<size_t>(axis + (axis < 0 ? std::ssize(*shape) : 0))) < 0) return -1;
  }
  return axis + (axis < 0 ? std::ssize(*graph[node.inputs[0]].shape) : 0);
}

/// Concat(a, b) as Pad(a) + Pad(b), each with zeros in the other's place.
std::vector<Node> sum_of_padded(Graph& graph, const Node& node, size_t axis) {
  std::vector<Node> nodes;
  const auto make = [&](const std::string& what, Op op, std::vector<ValueId> inputs) {
    const std::string name = graph.unique_name(node.name + what);
    const ValueId output = graph.add_value({.name = name, .dtype = graph[node.outputs[0]].dtype});
    nodes.push_back({.name = name, .op = std::move(op), .inputs = std::move(inputs), .outputs = {output}});
    return output;
  };
  const auto size = [&](ValueId part) { return (*graph[part].shape)[axis]; };
  const Shape none(graph[node.inputs[0]].shape->size(), 0);
  int64_t before = 0, after = 0;
  for (const ValueId part : node.inputs) after += size(part);
  ValueId sum;
  for (const ValueId part : node.inputs) {
    after -= size(part);
    Pad pad{.begin = none, .end = none};
    pad.begin[axis] = before;
    pad.end[axis] = after;
    before += size(part);
    const ValueId padded = make(".pad", std::move(pad), {part});
    sum = sum ? make(".sum", Binary{Binary::Kind::add}, {sum, padded}) : padded;
  }
  nodes.back().outputs = node.outputs;
  return nodes;
}

/// A token for each image: what is joined to images (not image to image) and does not depend on them has a batch of
/// one, which a sum stretches and a Concat does not.
void join_by_sums(Graph& graph) {
  OfImages of_images(graph);
  std::vector<Node> nodes;
  for (Node& node : graph.nodes) {
    const auto is_token = [&](ValueId id) {
      const std::optional<Shape>& shape = graph[id].shape;
      return !of_images.contains(id) && shape && !shape->empty() && shape->front() == 1;
    };
    const bool joins = of_images.reaches(node) && std::holds_alternative<Concat>(node.op) &&
                       std::ranges::any_of(node.inputs, is_token);
    const int64_t axis = joins ? joined_axis(graph, node) : -1;
    if (axis > 0) {
      std::ranges::move(sum_of_padded(graph, node, static_cast<size_t>(axis)), std::back_inserter(nodes));
    } else {
      nodes.push_back(std::move(node));
    }
  }
  graph.nodes = std::move(nodes);
  remove_dead(graph);
}

/// What the graph computes from shapes when `batch` images come, by value index.
std::unordered_map<int32_t, Tensor> numbers_at(Graph graph, int64_t batch) {
  graph[graph.inputs.front()].shape->front() = batch;
  reinfer_shapes(graph);
  return known_numbers(graph, true);
}

/// What is computed from shapes and single numbers, and from no weights: 1/√d of an attention, say.
std::unordered_set<int32_t> made_of_sizes(const Graph& graph) {
  std::unordered_set<int32_t> made;
  for (const Node& node : graph.nodes) {
    const auto is_size = [&](ValueId id) { return made.contains(id.index); };
    const auto is_weight = [&](ValueId id) {
      const Tensor* const constant = id ? graph.constant(id) : nullptr;
      return constant != nullptr && is_float(constant->dtype()) && constant->size() > 1;
    };
    if (!std::holds_alternative<ShapeOf>(node.op) &&
        (std::ranges::none_of(node.inputs, is_size) || std::ranges::any_of(node.inputs, is_weight))) {
      continue;
    }
    for (const ValueId id : node.outputs) made.insert(id.index);
  }
  return made;
}

/// Sizes of which the first, the batch, is open, as scales; nothing where a float32 does not hold one exactly.
std::optional<Tensor> scales_of(const Tensor& sizes, const std::optional<Shape>& input) {
  const std::vector<int64_t> wanted = sizes.to_ints();
  if (!input || input->size() != wanted.size()) return std::nullopt;
  std::vector<float> scales{1};
  for (size_t axis = 1; axis < wanted.size(); ++axis) {
    const auto from = static_cast<double>((*input)[axis]), to = static_cast<double>(wanted[axis]);
    scales.push_back(static_cast<float>(to / from));
    if (from <= 0 || static_cast<double>(scales.back()) * from != to) return std::nullopt;
  }
  return Tensor::of({std::ssize(scales)}, std::span<const float>(scales));
}

/// The same for an Expand of what has the batch already, or of a constant, which then has a batch of one: it stretches
/// it by 1.
std::optional<Tensor> with_batch_of_input(const Tensor& target, const Value& input) {
  std::vector<int64_t> sizes = target.to_ints();
  const bool follows =
      input.shape && input.shape->size() == sizes.size() && (input.shape->front() < 0 || input.constant);
  if (!follows) return std::nullopt;
  sizes[0] = 1;
  return Tensor::of(target.shape(), std::span<const int64_t>(sizes));
}

/// Numbers that the graph computes, from shapes or without, are constants where they do not change with the batch; so
/// is a Reshape's or an Expand's target in which one does; a Resize to sizes in which one does is one by scales.
void settle_numbers(Graph& graph) {
  const auto is_number = [&](const Node& node) { return node.outputs[0] && !is_float(graph[node.outputs[0]].dtype); };
  if (std::ranges::none_of(graph.nodes, is_number)) return;
  const auto two = numbers_at(graph, 2), three = numbers_at(graph, 3);
  const std::unordered_set<int32_t> of_sizes = made_of_sizes(graph);
  std::unordered_map<int32_t, Tensor> settled;
  for (const auto& [index, value] : two) {
    if (is_float(value.dtype()) && !of_sizes.contains(index)) continue;
    const Tensor& other = three.at(index);
    if (value == other) {
      settled[index] = value;
    } else if (!is_float(value.dtype()) && value.shape() == other.shape() && value.shape().size() == 1) {
      const std::vector<int64_t> sizes = value.to_ints(), others = other.to_ints();
      const bool batch_alone = sizes[0] % 2 == 0 && sizes[0] / 2 * 3 == others[0] &&
                               std::equal(sizes.begin() + 1, sizes.end(), others.begin() + 1);
      if (batch_alone) settled[index] = with_open_batch(sizes);
    }
  }
  for (Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const auto found = settled.find(node.inputs[i].index);
      if (found == settled.end()) continue;
      const bool open = found->second != two.at(found->first);
      const auto put = [&](const std::string& what, const Tensor& value) {
        return graph.add_constant(graph[node.inputs[i]].name + what, value);
      };
      if (open && std::holds_alternative<Resize>(node.op) && i == 3) {
        const std::optional<Tensor> scales = scales_of(found->second, graph[node.inputs[0]].shape);
        if (!scales) continue;
        node.inputs[2] = put(".scales", *scales);
        node.inputs.pop_back();
        break;
      }
      const auto* const repeat = std::get_if<Repeat>(&node.op);
      if (open && repeat && repeat->kind == Repeat::Kind::expand && i == 1) {
        const std::optional<Tensor> target = with_batch_of_input(found->second, graph[node.inputs[0]]);
        if (target) node.inputs[i] = put(".value", *target);
        continue;
      }
      if (open && !(std::holds_alternative<Reshape>(node.op) && i == 1)) continue;
      node.inputs[i] = put(".value", found->second);
    }
  }
  remove_dead(graph);
  reinfer_shapes(graph);
  join_by_sums(graph);
  reinfer_shapes(graph);
}

[[noreturn]] void refuse(const Graph& graph, const std::string& why) {
  throw Error(ErrorKind::unsupported,
              fmt::format("graph '{}' cannot be trained in batches: {}; export it with an open (dynamic) batch",
                          graph.name, why));
}

}  // namespace

void open_batch(Graph& graph, const Shape& image) {
  const int64_t exported = graph[graph.inputs.front()].shape->front();
  reshape_by_strides(graph);
  graph[graph.inputs.front()].shape = Shape{-1, image[0], image[1], image[2]};
  open_targets(graph, exported);
  join_by_sums(graph);
  try {
    reinfer_shapes(graph);
    settle_numbers(graph);
  } catch (const Error& error) {
    refuse(graph, error.what());
  }
}

void check_images_apart(const Graph& graph, const Shape& image) {
  constexpr double kTolerance = 1e-3;  // of the largest answer: kernels for one image and for two round differently
  const c10::AutoGradMode no_grad(false);
  Network network(graph, {.fused = false});
  const at::Tensor two = at::rand({2, image[0], image[1], image[2]}, at::detail::createCPUGenerator(1));
  at::Tensor apart, together;
  try {
    apart = at::cat({network.forward(two.narrow(0, 0, 1), false), network.forward(two.narrow(0, 1, 1), false)});
    together = network.forward(two, false);
  } catch (const Error& error) {
    refuse(graph, error.what());
  }
  if (together.sizes() != apart.sizes() || together.size(0) != 2) refuse(graph, "of two images it makes one answer");
  const double distance = (together - apart).abs().max().item<double>();
  if (distance > kTolerance * apart.abs().max().item<double>()) {
    refuse(graph, "an image's answer depends on its neighbour");
  }
}

}  // namespace reducenet::train
