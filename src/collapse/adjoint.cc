#include "collapse/adjoint.h"

#include <functional>
#include <numeric>

#include "fades/fades.h"
#include "graph/reference.h"
#include "rules/view.h"

namespace reducenet {
namespace {

/// One node at batch 1 with the cotangents of its output.
struct Call {
  const Graph& graph;
  NodeId id;
  const Cotangents& dy;
  int64_t rows;
  const Node& node = graph[id];

  Shape shape(ValueId value) const {
    Shape shape = graph.constant(value) ? graph.constant(value)->shape() : *graph[value].shape;
    return shape;
  }
  Shape out() const { return shape(node.outputs[0]); }
  Cotangents zeros(size_t input) const {
    return Cotangents(static_cast<size_t>(rows * element_count(shape(node.inputs[input]))));
  }
};

using Result = std::vector<Cotangents>;

/// x is the only data: the same elements, perhaps in another shape.
Result pass(const Call& call) {
  Result result(call.node.inputs.size());
  result[0] = call.dy;
  return result;
}

/// Calls visit(dx of a row, dy of the row) for each row of input 0.
template <class Visit>
Result each_row(const Call& call, Visit visit) {
  Result result(call.node.inputs.size());
  result[0] = call.zeros(0);
  const int64_t in = element_count(call.shape(call.node.inputs[0])), out = element_count(call.out());
  for (int64_t row = 0; row < call.rows; ++row) visit(result[0].data() + row * in, call.dy.data() + row * out);
  return result;
}

Result through_view(const Call& call) {
  const auto map = view(call.graph, call.id);
  const auto size = [&](ValueId value) {
    const ImageSize image = image_size(call.graph, value);
    return Size2{*image[0], *image[1]};
  };
  Result result(call.node.inputs.size());
  for (size_t i = 0; i < result.size(); ++i) {
    if (call.node.inputs[i] != map->source) continue;
    const LinearMap linear{map->geometry, weight_of(call.graph, *map), {}};
    result[i] = pull_back(linear, call.dy, call.rows, size(map->source), size(map->result));
  }
  return result;
}

// x[c,i,j] feeds y[o, i·sh + …]: the transpose of a transposed convolution is the convolution with the same kernel.
Result transpose_of(const ConvTranspose2d& op, const Call& call) {
  const Tensor& weight = *call.graph.constant(call.node.inputs[1]);
  reference::Array<double> w(weight.shape()), dy, dx;
  w.data = weight.to_doubles();
  dy.shape = call.out();
  dx.shape = call.shape(call.node.inputs[0]);
  dy.shape[0] = dx.shape[0] = call.rows;
  dy.data = call.dy;
  dx.data.resize(static_cast<size_t>(element_count(dx.shape)));
  const Conv2d conv{op.stride, op.padding, op.dilation, op.groups};
  reference::conv<double>(conv, dy, w, nullptr, dx, 1);
  Result result(call.node.inputs.size());
  result[0] = std::move(dx.data);
  return result;
}

// y = ±a ± b, a·c or a/c with broadcasting: each element of the smaller one gathers what it was spread to.
Result transpose_of(const Binary& op, const Call& call) {
  const Shape shape = call.out();
  const int64_t out = element_count(shape);
  Result result(2);
  for (size_t i = 0; i < 2; ++i) {
    if (call.graph.constant(call.node.inputs[i])) continue;
    const Tensor* other = call.graph.constant(call.node.inputs[1 - i]);
    const bool scales = op.kind == Binary::Kind::mul || op.kind == Binary::Kind::div;
    const std::vector<double> factor = scales ? other->to_doubles() : std::vector<double>{};
    const double sign = op.kind == Binary::Kind::sub && i == 1 ? -1 : 1;
    const Shape in = call.shape(call.node.inputs[i]);
    const int64_t count = element_count(in);
    result[i] = call.zeros(i);
    reference::for_each_index<2>(
        shape,
        {reference::broadcast_strides(in, shape), reference::broadcast_strides(scales ? other->shape() : in, shape)},
        [&](int64_t at, const std::array<int64_t, 2>& from) {
          double weight = sign;
          if (op.kind == Binary::Kind::mul) weight = factor[static_cast<size_t>(from[1])];
          if (op.kind == Binary::Kind::div) weight = 1 / factor[static_cast<size_t>(from[1])];
          for (int64_t row = 0; row < call.rows; ++row) {
            result[i][static_cast<size_t>(row * count + from[0])] +=
                weight * call.dy[static_cast<size_t>(row * out + at)];
          }
        });
  }
  return result;
}

Result transpose_of(const AveragePool& op, const Call& call) {
  const Shape in = call.shape(call.node.inputs[0]), out = call.out();
  return each_row(call, [&](double* dx, const double* dy) {
    reference::for_each_window(op, in, out, [&](int64_t plane, int64_t at, const reference::Window& w) {
      const int64_t inside = (w.row_end - w.row) * (w.column_end - w.column);
      const double share = dy[at] / static_cast<double>(op.count_include_pad ? w.padded_count : inside);
      for (int64_t i = w.row; i < w.row_end; ++i) {
        for (int64_t j = w.column; j < w.column_end; ++j) dx[(plane * in[2] + i) * in[3] + j] += share;
      }
    });
  });
}

Result transpose_of(const GlobalAveragePool&, const Call& call) {
  const Shape in = call.shape(call.node.inputs[0]);
  const int64_t count = element_count(in), plane = count / in[1];
  return each_row(call, [&](double* dx, const double* dy) {
    for (int64_t i = 0; i < count; ++i) dx[i] = dy[i / plane] / static_cast<double>(plane);
  });
}

/// y gathers single elements of x: `source` gives for every index of y the element of x, or −1.
Result gather(const Call& call, const std::function<int64_t(const Shape& index)>& source) {
  const Shape out = call.out();
  return each_row(call, [&](double* dx, const double* dy) {
    Shape index(out.size());
    for (int64_t at = 0; at < element_count(out); ++at) {
      int64_t rest = at;
      for (size_t axis = out.size(); axis-- > 0; rest /= out[axis]) index[axis] = rest % out[axis];
      if (const int64_t from = source(index); from >= 0) dx[from] += dy[at];
    }
  });
}

Result transpose_of(const Transpose& op, const Call& call) {
  const Shape in = call.shape(call.node.inputs[0]);
  const auto strides = reference::broadcast_strides(in, in);
  return gather(call, [&](const Shape& index) {
    int64_t from = 0;
    for (size_t i = 0; i < index.size(); ++i) {
      const auto axis = static_cast<size_t>(op.perm[i]);
      if (in[axis] != 1) from += index[i] * strides[axis];
    }
    return from;
  });
}

Result transpose_of(const Pad& op, const Call& call) {
  const Shape in = call.shape(call.node.inputs[0]);
  return gather(call, [&](const Shape& index) {
    int64_t from = 0;
    for (size_t axis = 0; axis < index.size(); ++axis) {
      const int64_t source = reference::padded_source(op, index[axis], op.begin[axis], in[axis]);
      if (source < 0) return int64_t{-1};
      from = from * in[axis] + source;
    }
    return from;
  });
}

Result transpose_of(const Concat& op, const Call& call) {
  const Shape out = call.out();
  const auto axis = static_cast<size_t>(op.axis < 0 ? op.axis + static_cast<int64_t>(out.size()) : op.axis);
  const int64_t outer = call.rows * element_count({out.begin(), out.begin() + static_cast<int64_t>(axis)});
  Result result;
  for (size_t i = 0; i < call.node.inputs.size(); ++i) result.push_back(call.zeros(i));
  const double* from = call.dy.data();
  for (int64_t line = 0; line < outer; ++line) {
    for (Cotangents& dx : result) {
      const int64_t run = static_cast<int64_t>(dx.size()) / outer;
      std::copy_n(from, run, dx.data() + line * run);
      from += run;
    }
  }
  return result;
}

// y = w₀·u + w₁·v.
Result transpose_of(const Fade& op, const Call& call) {
  if (call.node.inputs.size() == 1) return pass(call);
  Result result = transpose_of(Binary{}, call);
  const auto weights = find_fade(op.kind).weights(op.lambda);
  for (size_t i = 0; i < 2; ++i) {
    for (double& dx : result[i]) dx *= weights[i];
  }
  return result;
}

/// Non-linear ops; adjoint_obstacle names them first.
Result none(const Call& call) {
  return Result(call.node.inputs.size());
}

}  // namespace

std::string adjoint_obstacle(const Graph& graph, NodeId id) {
  const Node& node = graph[id];
  if (!is_linear(graph, node)) return label(graph, id) + " is not linear";
  const auto needs_view = [&] {
    return view(graph, id) ? std::string() : label(graph, id) + " is not a map of each sample by constants";
  };
  const auto nothing = [](const auto&) { return std::string(); };
  return std::visit(
      Overloaded{
          [&](const Conv2d&) { return needs_view(); },
          [&](const BatchNorm&) { return needs_view(); },
          [&](const Gemm&) { return needs_view(); },
          [&](const MatMul&) { return needs_view(); },
          [&](const Transpose& op) {
            return op.perm.empty() || op.perm[0] != 0 ? label(graph, id) + " moves the batch axis" : std::string();
          },
          [&](const ConvTranspose2d& op) { return nothing(op); },
          [&](const Binary& op) { return nothing(op); },
          [&](const Unary& op) { return nothing(op); },
          [&](const Activation& op) { return nothing(op); },
          [&](const PRelu& op) { return nothing(op); },
          [&](const Fade& op) { return nothing(op); },
          [&](const AveragePool& op) { return nothing(op); },
          [&](const MaxPool& op) { return nothing(op); },
          [&](const GlobalAveragePool& op) { return nothing(op); },
          [&](const Flatten& op) { return nothing(op); },
          [&](const Reshape& op) { return nothing(op); },
          [&](const Pad& op) { return nothing(op); },
          [&](const Concat& op) { return nothing(op); },
          [&](const Softmax& op) { return nothing(op); },
          [&](const Identity& op) { return nothing(op); },
          [&](const Dropout& op) { return nothing(op); },
          [&](const Opaque& op) { return nothing(op); },
          [&](const OneOf<Compare, Where, Variadic, GlobalMaxPool, Lrn, Normalize, Reduce, ArgReduce, Hardmax, TopK,
                          Slice, SplitAxis, Gather, ScatterNd, Squeeze, Repeat, SpaceDepth, Resize, ShapeOf,
                          ConstantOfShape, Arange, Cast> auto&) { return label(graph, id) + " has no transpose here"; },
      },
      node.op);
}

std::vector<Cotangents> adjoint(const Graph& graph, NodeId id, const Cotangents& dy, int64_t rows) {
  const Call call{graph, id, dy, rows};
  return std::visit(
      Overloaded{
          [&](const Conv2d&) { return through_view(call); },
          [&](const ConvTranspose2d& op) { return transpose_of(op, call); },
          [&](const BatchNorm&) { return through_view(call); },
          [&](const Gemm&) { return through_view(call); },
          [&](const MatMul&) { return through_view(call); },
          [&](const Binary& op) { return transpose_of(op, call); },
          [&](const Unary&) {  // Neg
            Result result{dy};
            for (double& v : result[0]) v = -v;
            return result;
          },
          [&](const Activation&) { return pass(call); },  // with slope 1, as PRelu
          [&](const PRelu&) { return pass(call); },
          [&](const Fade& op) { return transpose_of(op, call); },
          [&](const AveragePool& op) { return transpose_of(op, call); },
          [&](const MaxPool&) { return none(call); },
          [&](const GlobalAveragePool& op) { return transpose_of(op, call); },
          [&](const Flatten&) { return pass(call); },
          [&](const Reshape&) { return pass(call); },
          [&](const Transpose& op) { return transpose_of(op, call); },
          [&](const Pad& op) { return transpose_of(op, call); },
          [&](const Concat& op) { return transpose_of(op, call); },
          [&](const Softmax&) { return none(call); },
          [&](const Identity&) { return pass(call); },
          [&](const Dropout&) { return pass(call); },
          [&](const OneOf<Opaque, Compare, Where, Variadic, GlobalMaxPool, Lrn, Normalize, Reduce, ArgReduce, Hardmax,
                          TopK, Slice, SplitAxis, Gather, ScatterNd, Squeeze, Repeat, SpaceDepth, Resize, ShapeOf,
                          ConstantOfShape, Arange, Cast> auto&) { return none(call); },
      },
      graph[id].op);
}

}  // namespace reducenet
