#include <algorithm>
#include <cmath>

#include "reducenet/error.h"
#include "reducenet/graph.h"

namespace reducenet {
namespace {

using MaybeShape = std::optional<Shape>;

[[noreturn]] void mismatch(const std::string& what) {
  throw Error(ErrorKind::bad_input, what);
}

void require(bool holds, const std::string& what) {
  if (!holds) mismatch(what);
}

bool known(int64_t dim) {
  return dim >= 0;
}

void require_equal(int64_t a, int64_t b, const std::string& what) {
  require(!known(a) || !known(b) || a == b, what + ": " + std::to_string(a) + " against " + std::to_string(b));
}

/// ⌊(size + padding − dilation·(kernel−1) − 1)/stride⌋ + 1, or with ceiling as pools may ask.
int64_t windows(int64_t size, int64_t before, int64_t after, int64_t kernel, int64_t stride, int64_t dilation,
                bool ceiling = false) {
  require(kernel > 0 && stride > 0 && dilation > 0, "kernel, stride and dilation must be positive");
  if (!known(size)) return -1;
  const int64_t room = size + before + after - dilation * (kernel - 1) - 1;
  require(room >= 0, "a kernel of extent " + std::to_string(dilation * (kernel - 1) + 1) + " does not fit a size of " +
                         std::to_string(size + before + after));
  int64_t count = room / stride + 1;
  // A last, partial window must start inside the input or its leading padding.
  if (ceiling && room % stride != 0 && count * stride < size + before) ++count;
  return count;
}

const Shape& image(const MaybeShape& shape) {
  require(shape->size() == 4, "expected an image batch [N, C, H, W], found " + to_string(*shape));
  return *shape;
}

Shape conv_shape(const Conv2d& op, const Shape& x, const Shape& w, const MaybeShape& b) {
  require(w.size() == 4, "the weight must have 4 dimensions, found " + to_string(w));
  require(op.groups > 0 && w[0] % op.groups == 0, "output channels must divide into the groups");
  require_equal(x[1], w[1] * op.groups, "input channels do not match the weight " + to_string(w));
  if (b) require(*b == Shape{w[0]}, "the bias must have one element per output channel, found " + to_string(*b));
  return {x[0], w[0], windows(x[2], op.padding.top, op.padding.bottom, w[2], op.stride[0], op.dilation[0]),
          windows(x[3], op.padding.left, op.padding.right, w[3], op.stride[1], op.dilation[1])};
}

Shape conv_transpose_shape(const ConvTranspose2d& op, const Shape& x, const Shape& w, const MaybeShape& b) {
  require(w.size() == 4, "the weight must have 4 dimensions, found " + to_string(w));
  require(op.groups > 0 && w[0] % op.groups == 0, "input channels must divide into the groups");
  require_equal(x[1], w[0], "input channels do not match the weight " + to_string(w));
  if (b) require(*b == Shape{w[1] * op.groups}, "the bias must have one element per output channel");
  const auto grow = [](int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t extra, int64_t cut) {
    if (!known(size)) return int64_t{-1};
    const int64_t out = stride * (size - 1) + extra + dilation * (kernel - 1) + 1 - cut;
    require(out > 0, "the output would be empty");
    return out;
  };
  return {x[0], w[1] * op.groups,
          grow(x[2], w[2], op.stride[0], op.dilation[0], op.output_padding[0], op.padding.top + op.padding.bottom),
          grow(x[3], w[3], op.stride[1], op.dilation[1], op.output_padding[1], op.padding.left + op.padding.right)};
}

template <class Pool>
Shape pool_shape(const Pool& op, const Shape& x, Size2 dilation) {
  return {x[0], x[1],
          windows(x[2], op.padding.top, op.padding.bottom, op.kernel[0], op.stride[0], dilation[0], op.ceil_mode),
          windows(x[3], op.padding.left, op.padding.right, op.kernel[1], op.stride[1], dilation[1], op.ceil_mode)};
}

Shape broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1, db = i < b.size() ? b[b.size() - 1 - i] : 1;
    int64_t& d = out[out.size() - 1 - i];
    if (da == 1) {
      d = db;
    } else if (db == 1 || da == db) {
      d = da;
    } else {
      require(!known(da) || !known(db), to_string(a) + " and " + to_string(b) + " do not broadcast");
      d = std::max(da, db);
    }
  }
  return out;
}

Shape gemm_shape(const Gemm& op, const Shape& a, const Shape& b, const MaybeShape& c) {
  require(a.size() == 2 && b.size() == 2, "expected two matrices, found " + to_string(a) + " and " + to_string(b));
  require_equal(a[op.trans_a ? 0 : 1], b[op.trans_b ? 1 : 0], "the inner dimensions differ");
  const Shape out{a[op.trans_a ? 1 : 0], b[op.trans_b ? 0 : 1]};
  if (c) require(broadcast(out, *c).size() == 2, "C " + to_string(*c) + " does not broadcast to " + to_string(out));
  return out;
}

Shape matmul_shape(Shape a, Shape b) {
  require(!a.empty() && !b.empty(), "a scalar cannot be multiplied as a matrix");
  const bool row = a.size() == 1, column = b.size() == 1;
  if (row) a.insert(a.begin(), 1);
  if (column) b.push_back(1);
  require_equal(a.back(), b[b.size() - 2], "the inner dimensions differ");
  Shape out = broadcast({a.begin(), a.end() - 2}, {b.begin(), b.end() - 2});
  if (!row) out.push_back(a[a.size() - 2]);
  if (!column) out.push_back(b.back());
  return out;
}

/// Product of dimensions, −1 when one is unknown.
int64_t product(Shape::const_iterator first, Shape::const_iterator last) {
  if (std::any_of(first, last, [](int64_t dim) { return dim < 0; })) return -1;
  return element_count({first, last});
}

int64_t normalised_axis(int64_t axis, size_t rank, bool end_allowed = false) {
  const auto count = static_cast<int64_t>(rank);
  const int64_t positive = axis < 0 ? axis + count : axis;
  require(positive >= 0 && positive < count + end_allowed,
          "axis " + std::to_string(axis) + " is outside a tensor of rank " + std::to_string(rank));
  return positive;
}

MaybeShape reshape_shape(const Reshape& op, const Shape& x, const Tensor* target) {
  if (!target) return std::nullopt;
  Shape out = target->to_ints();
  std::optional<size_t> inferred;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == 0 && !op.allow_zero) {
      require(i < x.size(), "the shape copies a dimension that the input does not have");
      out[i] = x[i];
    } else if (out[i] == -1) {
      require(!inferred, "the shape has two dimensions to infer");
      inferred = i;
    } else {
      require(out[i] >= 0, "the shape has a negative dimension");
    }
  }
  // Unknown dimensions that are copied cancel; what remains decides the inferred one.
  int64_t have = 1, want = 1;
  std::vector<bool> copied(x.size());
  bool determined = true;
  for (size_t i = 0; i < out.size(); ++i) {
    if (inferred == i) continue;
    if (known(out[i])) {
      require(!__builtin_mul_overflow(want, out[i], &want), "the shape has too many elements");
    } else {
      copied[i] = true;
    }
  }
  for (size_t i = 0; i < x.size(); ++i) {
    if (known(x[i])) {
      require(!__builtin_mul_overflow(have, x[i], &have), "the input has too many elements");
    } else if (!copied[i]) {
      determined = false;
    }
  }
  if (!determined) return out;
  const std::string what = to_string(x) + " cannot be reshaped to " + to_string(out);
  if (inferred) {
    require(want > 0 ? have % want == 0 : have == 0, what);
    out[*inferred] = want > 0 ? have / want : 0;
  } else {
    require(have == want, what);
  }
  return out;
}

Shape pad_shape(const Pad& op, const Shape& x) {
  require(op.begin.size() == x.size() && op.end.size() == x.size(), "pads do not match the rank of " + to_string(x));
  Shape out = x;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!known(x[i])) continue;
    out[i] = x[i] + op.begin[i] + op.end[i];
    require(out[i] >= 0, "more is cut than there is");
    if (op.mode == Pad::Mode::reflect) {
      require(op.begin[i] < x[i] && op.end[i] < x[i], "reflection needs more elements than it adds");
    }
  }
  return out;
}

Shape concat_shape(const Concat& op, std::span<const MaybeShape> inputs) {
  Shape out = *inputs[0];
  const auto axis = static_cast<size_t>(normalised_axis(op.axis, out.size()));
  for (size_t k = 1; k < inputs.size(); ++k) {
    const Shape& x = *inputs[k];
    require(x.size() == out.size(), "inputs of different rank");
    for (size_t i = 0; i < x.size(); ++i) {
      if (i == axis) {
        out[i] = known(out[i]) && known(x[i]) ? out[i] + x[i] : -1;
      } else {
        require_equal(out[i], x[i], "inputs differ outside the joined axis");
        out[i] = std::max(out[i], x[i]);
      }
    }
  }
  return out;
}

Shape permuted(const Transpose& op, const Shape& x) {
  require(op.perm.size() == x.size(), "the permutation does not match the rank of " + to_string(x));
  Shape out(x.size(), -2);
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t from = op.perm[i];
    require(from >= 0 && from < static_cast<int64_t>(x.size()) && std::count(op.perm.begin(), op.perm.end(), from) == 1,
            "not a permutation");
    out[i] = x[static_cast<size_t>(from)];
  }
  return out;
}

Shape batch_norm_shape(std::span<const MaybeShape> inputs) {
  const Shape& x = *inputs[0];
  require(x.size() >= 2, "expected [N, C, …], found " + to_string(x));
  for (size_t i = 1; i < 5; ++i) {
    if (!inputs[i]) continue;
    require(inputs[i]->size() == 1, "a parameter has shape " + to_string(*inputs[i]));
    require_equal((*inputs[i])[0], x[1], "a parameter does not have one element per channel");
  }
  return x;
}

size_t fewest_inputs(const Op& op) {
  return std::visit(Overloaded{
                        [](const Conv2d&) { return size_t{2}; },
                        [](const ConvTranspose2d&) { return size_t{2}; },
                        [](const BatchNorm&) { return size_t{5}; },
                        [](const Gemm&) { return size_t{2}; },
                        [](const MatMul&) { return size_t{2}; },
                        [](const Binary&) { return size_t{2}; },
                        [](const PRelu&) { return size_t{2}; },
                        [](const Reshape&) { return size_t{2}; },
                        [](const Opaque&) { return size_t{0}; },
                        [](const auto& one) {  // every other op reads one tensor
                          static_assert(std::is_class_v<std::decay_t<decltype(one)>>);
                          return size_t{1};
                        },
                    },
                    op);
}

}  // namespace

std::vector<std::optional<Shape>> output_shapes(const Op& op, std::span<const std::optional<Shape>> inputs,
                                                std::span<const Tensor* const> constants, size_t outputs) {
  std::vector<std::optional<Shape>> out(outputs);
  if (std::holds_alternative<Opaque>(op)) return out;
  const size_t needed = fewest_inputs(op);
  require(inputs.size() >= needed, "needs " + std::to_string(needed) + " inputs, has " + std::to_string(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool required = i < needed || std::holds_alternative<Concat>(op);
    if (required && !inputs[i]) return out;  // unknown so far
  }
  const auto optional_input = [&](size_t i) { return i < inputs.size() ? inputs[i] : std::nullopt; };
  const auto same = [&](const auto&) -> MaybeShape { return *inputs[0]; };
  const MaybeShape first = std::visit(
      Overloaded{
          [&](const Conv2d& o) -> MaybeShape { return conv_shape(o, image(inputs[0]), *inputs[1], optional_input(2)); },
          [&](const ConvTranspose2d& o) -> MaybeShape {
            return conv_transpose_shape(o, image(inputs[0]), *inputs[1], optional_input(2));
          },
          [&](const BatchNorm&) -> MaybeShape { return batch_norm_shape(inputs); },
          [&](const Gemm& o) -> MaybeShape { return gemm_shape(o, *inputs[0], *inputs[1], optional_input(2)); },
          [&](const MatMul&) -> MaybeShape { return matmul_shape(*inputs[0], *inputs[1]); },
          [&](const Binary&) -> MaybeShape { return broadcast(*inputs[0], *inputs[1]); },
          [&](const PRelu&) -> MaybeShape {
            require(broadcast(*inputs[0], *inputs[1]).size() == inputs[0]->size(), "the slope has too many dimensions");
            return *inputs[0];
          },
          [&](const AveragePool& o) -> MaybeShape {
            return pool_shape(o, image(inputs[0]), {1, 1});
          },
          [&](const MaxPool& o) -> MaybeShape { return pool_shape(o, image(inputs[0]), o.dilation); },
          [&](const GlobalAveragePool&) -> MaybeShape {
            require(inputs[0]->size() >= 2, "expected [N, C, …], found " + to_string(*inputs[0]));
            Shape shape(inputs[0]->size(), 1);
            std::copy_n(inputs[0]->begin(), 2, shape.begin());
            return shape;
          },
          [&](const Flatten& o) -> MaybeShape {
            const Shape& x = *inputs[0];
            const int64_t axis = normalised_axis(o.axis, x.size(), true);
            return Shape{product(x.begin(), x.begin() + axis), product(x.begin() + axis, x.end())};
          },
          [&](const Reshape& o) -> MaybeShape { return reshape_shape(o, *inputs[0], constants[1]); },
          [&](const Transpose& o) -> MaybeShape { return permuted(o, *inputs[0]); },
          [&](const Pad& o) -> MaybeShape { return pad_shape(o, *inputs[0]); },
          [&](const Concat& o) -> MaybeShape { return concat_shape(o, inputs); },
          [&](const Softmax& o) -> MaybeShape {
            normalised_axis(o.axis, inputs[0]->size());
            return *inputs[0];
          },
          [&](const Unary& o) { return same(o); },
          [&](const Activation& o) { return same(o); },
          [&](const Fade& o) { return same(o); },
          [&](const Identity& o) { return same(o); },
          [&](const Dropout& o) { return same(o); },
          [&](const Opaque&) -> MaybeShape { return std::nullopt; },
      },
      op);
  if (!out.empty()) out[0] = first;
  if (std::holds_alternative<Dropout>(op) && out.size() > 1) out[1] = first;  // the mask
  return out;
}

void infer_shapes(Graph& graph) {
  for (Value& value : graph.values) {
    if (!value.constant) continue;
    value.shape = value.constant->shape();
    value.dtype = value.constant->dtype();
  }
  for (const Node& node : graph.nodes) {
    std::vector<std::optional<Shape>> shapes;
    std::vector<const Tensor*> constants;
    for (const ValueId id : node.inputs) {
      shapes.push_back(id ? graph[id].shape : std::nullopt);
      constants.push_back(graph.constant(id));
    }
    std::vector<std::optional<Shape>> made;
    try {
      made = output_shapes(node.op, shapes, constants, node.outputs.size());
    } catch (const Error& error) {
      throw Error(error.kind(), "node '" + node.name + "' (" + describe(node.op) + "): " + error.what());
    }
    for (size_t i = 0; i < made.size(); ++i) {
      const ValueId id = node.outputs[i];
      if (!id || !made[i]) continue;
      graph[id].shape = std::move(made[i]);
      if (i == 0 && !node.inputs.empty() && node.inputs[0]) graph[id].dtype = graph[node.inputs[0]].dtype;
    }
  }
}

}  // namespace reducenet
