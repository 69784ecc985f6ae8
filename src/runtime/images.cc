#include "runtime/images.h"

#include <algorithm>

#include "reducenet/error.h"

namespace reducenet {
namespace {

/// The graph's shapes at batch 1 and at another.
class Images {
 public:
  Images(Graph graph, int64_t batch) : graph_(std::move(graph)), batch_(batch) {
    set_batch(graph_, batch);
    for (const Value& value : graph_.values) of_batch_.push_back(value.shape);
    set_batch(graph_, 1);
  }

  bool stand_alone() const {
    return std::ranges::all_of(graph_.inputs, [&](ValueId id) { return leads(id); }) &&
           std::ranges::all_of(graph_.nodes, [&](const Node& node) { return keeps_apart(node); });
  }

 private:
  bool constant(ValueId id) const { return !id || graph_.constant(id); }
  const Shape& shape(ValueId id) const { return *graph_[id].shape; }
  int64_t rank(ValueId id) const { return static_cast<int64_t>(shape(id).size()); }

  /// The first dimension is the batch and no other depends on it.
  bool leads(ValueId id) const {
    const auto &one = graph_[id].shape, &many = of_batch_[static_cast<size_t>(id.index)];
    return one && many && !one->empty() && one->size() == many->size() && one->front() == 1 &&
           many->front() == batch_ && std::equal(one->begin() + 1, one->end(), many->begin() + 1);
  }

  /// One operand is of images, the others are constants.
  bool one_operand(const Node& node) const {
    return !constant(node.inputs[0]) &&
           std::all_of(node.inputs.begin() + 1, node.inputs.end(), [&](ValueId id) { return constant(id); });
  }

  /// What broadcasting lays on one another: images on images, and constants on every image.
  bool aligned(const Node& node) const {
    const int64_t whole = rank(node.outputs[0]);
    return std::ranges::all_of(node.inputs, [&](ValueId id) {
      if (constant(id)) return rank(id) < whole || shape(id)[0] == 1;
      return rank(id) == whole;
    });
  }

  bool apart_from_first(const Node& node, int64_t axis) const {
    return one_operand(node) && axis != 0 && axis != -rank(node.inputs[0]);
  }
  /// The axes are a list, or input `i` of the node; none at all may be any.
  bool apart_from_first(const Node& node, std::vector<int64_t> axes, size_t i = 1) const {
    if (!one_operand(node)) return false;
    if (i < node.inputs.size() && node.inputs[i]) axes = graph_.constant(node.inputs[i])->to_ints();
    return !axes.empty() && std::ranges::all_of(axes, [&](int64_t axis) { return apart_from_first(node, axis); });
  }

  bool keeps_apart(const Node& node) const {
    if (!std::ranges::all_of(node.outputs, [&](ValueId id) { return !id || leads(id); })) return false;
    if (!std::ranges::all_of(node.inputs, [&](ValueId id) { return constant(id) || leads(id); })) return false;
    return std::visit(
        Overloaded{
            [&](const OneOf<Conv2d, ConvTranspose2d, BatchNorm, Unary, Activation, PRelu, AveragePool, MaxPool,
                            GlobalAveragePool, GlobalMaxPool, SpaceDepth, Identity, Dropout> auto&) {
              return one_operand(node);
            },
            // The elements keep their order, so images that are as many before as after keep theirs.
            [&](const OneOf<Flatten, Reshape, Squeeze> auto&) { return one_operand(node); },
            [&](const OneOf<Binary, Variadic, Compare, Where, Fade> auto&) { return aligned(node); },
            [&](const Gemm& op) {
              return !op.trans_a && one_operand(node) &&
                     (node.inputs.size() < 3 || !node.inputs[2] || rank(node.inputs[2]) < 2 ||
                      shape(node.inputs[2])[0] == 1);
            },
            [&](const MatMul&) { return one_operand(node) && rank(node.inputs[0]) >= 2 && rank(node.inputs[1]) == 2; },
            // By scales; sizes name the batch.
            [&](const Resize&) { return one_operand(node) && node.inputs.size() == 3; },
            [&](const OneOf<Softmax, SplitAxis, Gather> auto& op) { return apart_from_first(node, op.axis); },
            [&](const Normalize& op) {
              return op.kind == Normalize::Kind::layer ? apart_from_first(node, op.axis) : one_operand(node);
            },
            [&](const Reduce& op) { return apart_from_first(node, op.axes); },
            [&](const Slice& op) { return apart_from_first(node, op.axes, 3); },
            [&](const Transpose& op) { return one_operand(node) && !op.perm.empty() && op.perm[0] == 0; },
            [&](const Pad& op) {
              return node.inputs.size() == 1 && !op.begin.empty() && op.begin[0] == 0 && op.end[0] == 0;
            },
            [&](const Concat& op) {
              return op.axis != 0 && op.axis != -rank(node.outputs[0]) &&
                     std::ranges::none_of(node.inputs, [&](ValueId id) { return constant(id); });
            },
            [](const auto&) { return false; },  // safe for any op: the batch is run as one
        },
        node.op);
  }

  Graph graph_;
  int64_t batch_;
  std::vector<std::optional<Shape>> of_batch_;  // by value
};

}  // namespace

bool images_stand_alone(const Graph& graph, int64_t batch) {
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1 || batch < 2) return false;
  const auto& input = graph[graph.inputs[0]].shape;
  if (!input || input->empty() || input->front() >= 0) return false;
  try {
    return Images(graph, batch).stand_alone();
  } catch (const Error&) {  // shapes that are wrong at one of the two sizes
    return false;
  }
}

}  // namespace reducenet
