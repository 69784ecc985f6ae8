#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "fades/fades.h"
#include "graph/convolve.h"
#include "graph/reference.h"
#include "graph/reference_index.h"
#include "graph/reference_statistics.h"
#include "reducenet/error.h"
#include "reducenet/graph.h"

namespace reducenet {
namespace {

using reference::Array;

constexpr int64_t kMostElements = int64_t{1} << 30;  // of one value

using reference::Call;
using reference::combine;
using reference::map;
using reference::run;

template <class T>
void run(const Conv2d& op, const Call<T>& call) {
  const Weights<T> w{call.x(1).shape, {}, call.x(1).data};
  convolve(op, call.x(0), w, call.optional(2), call.y, call.threads);
}

template <class T>
void run(const ConvTranspose2d& op, const Call<T>& call) {
  reference::conv_transpose(op, call.x(0), call.x(1), call.optional(2), call.y);
}

template <class T>
void run(const BatchNorm& op, const Call<T>& call) {
  const int64_t channels = call.y.shape[1], batch = call.y.shape[0];
  const int64_t plane = channels * batch == 0 ? 0 : static_cast<int64_t>(call.y.data.size()) / (batch * channels);
  for (int64_t n = 0; n < batch * channels; ++n) {
    const auto c = static_cast<size_t>(n % channels);
    const T scale = call.x(1).data[c] / std::sqrt(call.x(4).data[c] + static_cast<T>(op.epsilon));
    for (int64_t i = n * plane; i < (n + 1) * plane; ++i) {
      *call.y.at(i) = (*call.x().at(i) - call.x(3).data[c]) * scale + call.x(2).data[c];
    }
  }
}

template <class T>
void run(const Gemm& op, const Call<T>& call) {
  const Shape& a = call.x(0).shape;
  const Shape& b = call.x(1).shape;
  const int64_t rows = call.y.shape[0], columns = call.y.shape[1], inner = a[op.trans_a ? 0 : 1];
  if (const Array<T>* c = call.optional(2)) {
    reference::for_each_index<1>(call.y.shape, {reference::broadcast_strides(c->shape, call.y.shape)},
                                 [&](int64_t at, const std::array<int64_t, 1>& from) {
                                   *call.y.at(at) = static_cast<T>(op.beta) * *c->at(from[0]);
                                 });
  }
  reference::multiply(rows, inner, columns, call.x(0).at(0), op.trans_a ? 1 : a[1], op.trans_a ? a[1] : 1,
                      call.x(1).at(0), op.trans_b ? 1 : b[1], op.trans_b ? b[1] : 1, static_cast<T>(op.alpha),
                      call.y.at(0));
}

template <class T>
void run(const MatMul&, const Call<T>& call) {
  Shape a = call.x(0).shape, b = call.x(1).shape;
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  const int64_t rows = a[a.size() - 2], inner = a.back(), columns = b.back();
  Shape batch = call.y.shape;
  if (call.x(1).shape.size() > 1) batch.pop_back();
  if (call.x(0).shape.size() > 1) batch.pop_back();
  const auto strides_of = [&](const Shape& shape) {
    auto strides = reference::broadcast_strides({shape.begin(), shape.end() - 2}, batch);
    for (int64_t& stride : strides) stride *= shape[shape.size() - 2] * shape.back();
    return strides;
  };
  reference::for_each_index<2>(
      batch, {strides_of(a), strides_of(b)}, [&](int64_t at, const std::array<int64_t, 2>& from) {
        reference::multiply(rows, inner, columns, call.x(0).at(from[0]), inner, int64_t{1}, call.x(1).at(from[1]),
                            columns, int64_t{1}, T{1}, call.y.at(at * rows * columns));
      });
}

template <class T>
void run(const Binary& op, const Call<T>& call) {
  switch (op.kind) {
    case Binary::Kind::add:
      return combine(call, [](T a, T b) { return a + b; });
    case Binary::Kind::sub:
      return combine(call, [](T a, T b) { return a - b; });
    case Binary::Kind::mul:
      return combine(call, [](T a, T b) { return a * b; });
    case Binary::Kind::div:
      if (!is_float(call.dtype)) return combine(call, [](T a, T b) { return std::trunc(a / b); });
      return combine(call, [](T a, T b) { return a / b; });
    case Binary::Kind::pow:
      return combine(call, [](T a, T b) { return std::pow(a, b); });
    case Binary::Kind::min:
      return combine(call, [](T a, T b) { return std::min(a, b); });
    case Binary::Kind::max:
      return combine(call, [](T a, T b) { return std::max(a, b); });
    case Binary::Kind::mod:
      return combine(call, [](T a, T b) { return a - b * std::floor(a / b); });
    case Binary::Kind::fmod:
      return combine(call, [](T a, T b) { return std::fmod(a, b); });
  }
}

template <class T>
void run(const Unary& op, const Call<T>& call) {
  switch (op.kind) {
    case Unary::Kind::neg:
      return map(call, [](T v) { return -v; });
    case Unary::Kind::abs:
      return map(call, [](T v) { return std::abs(v); });
    case Unary::Kind::exp:
      return map(call, [](T v) { return std::exp(v); });
    case Unary::Kind::log:
      return map(call, [](T v) { return std::log(v); });
    case Unary::Kind::sqrt:
      return map(call, [](T v) { return std::sqrt(v); });
    case Unary::Kind::reciprocal:
      return map(call, [](T v) { return 1 / v; });
    case Unary::Kind::erf:
      return map(call, [](T v) { return std::erf(v); });
    case Unary::Kind::floor:
      return map(call, [](T v) { return std::floor(v); });
    case Unary::Kind::ceil:
      return map(call, [](T v) { return std::ceil(v); });
    case Unary::Kind::round:
      return map(call, [](T v) { return std::nearbyint(v); });
    case Unary::Kind::sign:
      return map(call, [](T v) { return static_cast<T>((v > 0) - (v < 0)); });
    case Unary::Kind::sin:
      return map(call, [](T v) { return std::sin(v); });
    case Unary::Kind::cos:
      return map(call, [](T v) { return std::cos(v); });
    case Unary::Kind::tan:
      return map(call, [](T v) { return std::tan(v); });
    case Unary::Kind::asin:
      return map(call, [](T v) { return std::asin(v); });
    case Unary::Kind::acos:
      return map(call, [](T v) { return std::acos(v); });
    case Unary::Kind::atan:
      return map(call, [](T v) { return std::atan(v); });
    case Unary::Kind::sinh:
      return map(call, [](T v) { return std::sinh(v); });
    case Unary::Kind::cosh:
      return map(call, [](T v) { return std::cosh(v); });
    case Unary::Kind::asinh:
      return map(call, [](T v) { return std::asinh(v); });
    case Unary::Kind::acosh:
      return map(call, [](T v) { return std::acosh(v); });
    case Unary::Kind::atanh:
      return map(call, [](T v) { return std::atanh(v); });
    case Unary::Kind::logical_not:
      return map(call, [](T v) { return static_cast<T>(v == 0); });
    case Unary::Kind::is_nan:
      return map(call, [](T v) { return static_cast<T>(std::isnan(v)); });
  }
}

template <class T>
void run(const Activation& op, const Call<T>& call) {
  map(call, [&](T v) { return apply(op, v); });
}

template <class T>
void run(const PRelu&, const Call<T>& call) {
  combine(call, [](T v, T slope) { return v < 0 ? slope * v : v; });
}

template <class T>
void run(const Fade& op, const Call<T>& call) {
  const FadeKind& kind = find_fade(op.kind);
  if (kind.inputs == 1) return map(call, [&](T v) { return apply(op, v); });
  const auto [a, b] = kind.weights(op.lambda);
  combine(call, [a = static_cast<T>(a), b = static_cast<T>(b)](T u, T v) { return a * u + b * v; });
}

template <class T>
void run(const AveragePool& op, const Call<T>& call) {
  reference::average_pool(op, call.x(), call.y);
}

template <class T>
void run(const MaxPool& op, const Call<T>& call) {
  reference::max_pool(op, call.x(), call.y);
}

template <class T>
void run(const GlobalAveragePool&, const Call<T>& call) {
  const size_t plane = call.y.data.empty() ? 0 : call.x().data.size() / call.y.data.size();
  for (size_t i = 0; i < call.y.data.size(); ++i) {
    T sum = 0;
    for (size_t k = 0; k < plane; ++k) sum += call.x().data[i * plane + k];
    call.y.data[i] = sum / static_cast<T>(plane);
  }
}

template <class T>
void copy(const Call<T>& call) {
  call.y.data = call.x().data;
}
template <class T>
void run(const Flatten&, const Call<T>& call) {
  copy(call);
}
template <class T>
void run(const Reshape&, const Call<T>& call) {
  copy(call);
}
template <class T>
void run(const Identity&, const Call<T>& call) {
  copy(call);
}
template <class T>
void run(const Dropout& op, const Call<T>& call) {
  if (op.training) throw Error(ErrorKind::unsupported, "drops at random: export the model in evaluation mode");
  copy(call);
  if (call.outputs.size() > 1) std::ranges::fill(call.outputs[1]->data, T{1});  // the mask
}

template <class T>
void run(const Transpose& op, const Call<T>& call) {
  const auto in = reference::broadcast_strides(call.x().shape, call.x().shape);
  std::vector<int64_t> strides;
  for (const int64_t axis : op.perm) strides.push_back(in[static_cast<size_t>(axis)]);
  reference::for_each_index<1>(call.y.shape, {strides}, [&](int64_t at, const std::array<int64_t, 1>& from) {
    *call.y.at(at) = *call.x().at(from[0]);
  });
}

template <class T>
void run(const Pad& op, const Call<T>& call) {
  const Shape& x = call.x().shape;
  const Shape& y = call.y.shape;
  const auto strides = reference::broadcast_strides(x, x);
  for (int64_t at = 0; at < static_cast<int64_t>(call.y.data.size()); ++at) {
    int64_t rest = at, from = 0;
    for (size_t axis = y.size(); axis-- > 0 && from >= 0;) {
      const int64_t source = reference::padded_source(op, rest % y[axis], op.begin[axis], x[axis]);
      from = source < 0 ? -1 : from + source * strides[axis];
      rest /= y[axis];
    }
    *call.y.at(at) = from < 0 ? static_cast<T>(op.value) : *call.x().at(from);
  }
}

template <class T>
void run(const Concat& op, const Call<T>& call) {
  const auto axis = static_cast<size_t>(op.axis < 0 ? op.axis + static_cast<int64_t>(call.y.shape.size()) : op.axis);
  const int64_t outer = element_count({call.y.shape.begin(), call.y.shape.begin() + static_cast<int64_t>(axis)});
  T* to = call.y.at(0);
  for (int64_t row = 0; row < outer; ++row) {
    for (const Array<T>* input : call.in) {
      const int64_t run_length = static_cast<int64_t>(input->data.size()) / std::max<int64_t>(outer, 1);
      to = std::copy_n(input->at(row * run_length), run_length, to);
    }
  }
}

template <class T>
void run(const Softmax& op, const Call<T>& call) {
  const Shape& shape = call.y.shape;
  const auto axis = static_cast<size_t>(op.axis < 0 ? op.axis + static_cast<int64_t>(shape.size()) : op.axis);
  const int64_t count = shape[axis];
  const int64_t inner = element_count({shape.begin() + static_cast<int64_t>(axis) + 1, shape.end()});
  const int64_t lines = count == 0 ? 0 : static_cast<int64_t>(call.y.data.size()) / count;
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t start = line / inner * inner * count + line % inner;
    T highest = -std::numeric_limits<T>::infinity(), sum = 0;
    for (int64_t i = 0; i < count; ++i) highest = std::max(highest, *call.x().at(start + i * inner));
    for (int64_t i = 0; i < count; ++i) sum += std::exp(*call.x().at(start + i * inner) - highest);
    for (int64_t i = 0; i < count; ++i) {
      const T shifted = *call.x().at(start + i * inner) - highest;
      *call.y.at(start + i * inner) = op.log ? shifted - std::log(sum) : std::exp(shifted) / sum;
    }
  }
}

template <class T>
void run(const Opaque& op, const Call<T>&) {
  throw Error(ErrorKind::unsupported, "this op is not one that ReduceNet can execute: " + op.why);
}

/// What an integer type keeps of a number: whole, and modulo 2 to its bits. NaN stays.
template <class T>
T whole(T value, DType dtype) {
  if (std::isnan(value)) return value;
  if (dtype == DType::boolean) return static_cast<T>(value != 0);
  const T cut = std::trunc(value);
  const auto bits = static_cast<int>(8 * size_of(dtype));
  if (bits == 64) return cut;
  const bool is_signed = dtype == DType::i8 || dtype == DType::i16 || dtype == DType::i32;
  const T low = is_signed ? -std::ldexp(T{1}, bits - 1) : 0, range = std::ldexp(T{1}, bits);
  return cut >= low && cut < low + range ? cut : cut - range * std::floor((cut - low) / range);
}

template <class T>
std::shared_ptr<const Array<T>> to_array(const Tensor& tensor) {
  auto array = std::make_shared<Array<T>>();
  array->shape = tensor.shape();
  if constexpr (std::is_same_v<T, float>) {
    array->data = tensor.to_floats();
  } else {
    array->data = tensor.to_doubles();
  }
  return array;
}

template <class T>
Tensor to_tensor(const Array<T>& array) {
  if constexpr (std::is_same_v<T, float>) {
    return Tensor::of(array.shape, std::span<const float>(array.data));
  } else {
    return Tensor::from_doubles(array.shape, array.data);
  }
}

template <class T>
class Evaluation {
 public:
  Evaluation(const Graph& graph, std::span<const Tensor> inputs, int threads)
      : graph_(graph), threads_(threads), arrays_(graph.values.size()), reads_(graph.values.size()) {
    if (inputs.size() != graph.inputs.size()) {
      throw Error(ErrorKind::usage, "the graph has " + std::to_string(graph.inputs.size()) + " inputs, given were " +
                                        std::to_string(inputs.size()));
    }
    for (size_t i = 0; i < inputs.size(); ++i) slot(graph.inputs[i]) = to_array<T>(inputs[i]);
    for (const Node& node : graph.nodes) {
      for (const ValueId id : node.inputs) {
        if (id) ++reads_[static_cast<size_t>(id.index)];
      }
    }
    for (const ValueId id : graph.outputs) ++reads_[static_cast<size_t>(id.index)];
  }

  std::vector<Tensor> operator()(const std::function<void(ValueId, const Tensor&)>& observe) {
    for (const Node& node : graph_.nodes) {
      try {
        evaluate_node(node);
        round(node);
      } catch (const Error& error) {
        throw Error(error.kind(), "node '" + node.name + "' (" + describe(node.op) + "): " + error.what());
      }
      for (const ValueId id : node.outputs) {
        if (observe && id && slot(id)) observe(id, to_tensor(*slot(id)));
      }
      for (const ValueId id : node.inputs) {
        if (id && --reads_[static_cast<size_t>(id.index)] == 0) slot(id).reset();
      }
    }
    std::vector<Tensor> outputs;
    for (const ValueId id : graph_.outputs) outputs.push_back(to_tensor(*load(id)));
    return outputs;
  }

 private:
  using Slot = std::shared_ptr<const Array<T>>;
  Slot& slot(ValueId id) { return arrays_[static_cast<size_t>(id.index)]; }
  const Slot& load(ValueId id) {
    if (slot(id)) return slot(id);
    const Tensor* const constant = graph_.constant(id);
    if (!constant) throw Error(ErrorKind::bad_input, "nothing makes '" + graph_[id].name + "'");
    slot(id) = to_array<T>(*constant);
    return slot(id);
  }

  /// In the mode of floats: what the node makes, as the model stores it.
  void round(const Node& node) {
    if constexpr (std::is_same_v<T, float>) {
      for (const ValueId id : node.outputs) {
        const DType stored = id ? graph_[id].dtype : DType::f32;
        if ((stored != DType::f16 && stored != DType::bf16) || !slot(id)) continue;
        slot(id) = to_array<T>(to_tensor(*slot(id)).cast(stored));
      }
    }
  }

  /// Convolutions and products whose weights are a float32 constant: those are not widened as a whole. False when the
  /// node is neither.
  bool evaluate_from_f32(const Node& node) {
    const auto* conv = std::get_if<Conv2d>(&node.op);
    const auto* gemm = std::get_if<Gemm>(&node.op);
    if (!conv && !gemm && !std::holds_alternative<MatMul>(node.op)) return false;
    const Tensor* constant = graph_.constant(node.inputs[1]);
    if (!constant || constant->dtype() != DType::f32 || constant->size() == 0) return false;
    if (!conv && constant->shape().size() != 2) return false;
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2];
    const Array<T>* bias = has_bias ? load(node.inputs[2]).get() : nullptr;
    Slot x = load(node.inputs[0]);
    Weights<T> w{constant->shape(), constant->as<float>(), {}};
    const std::optional<Shape> shapes[] = {x->shape, w.shape, bias ? std::optional(bias->shape) : std::nullopt};
    const Tensor* const constants[] = {nullptr, constant, nullptr};
    auto y = std::make_shared<Array<T>>(output_shapes(node.op, shapes, constants, 1)[0].value());
    if (conv) {
      convolve(*conv, *x, w, bias, *y, threads_);
    } else {
      multiply(gemm ? *gemm : Gemm{}, *x, w, bias, *y);
    }
    slot(node.outputs[0]) = std::move(y);
    return true;
  }

  /// y = α·x·W + β·b, x's leading dimensions being its rows: a 1×1 convolution of one image a row.
  void multiply(const Gemm& op, const Array<T>& x, Weights<T>& w, const Array<T>* bias, Array<T>& y) {
    if (!op.trans_b) std::swap(w.shape[0], w.shape[1]);
    w.transposed = !op.trans_b;
    w.shape.insert(w.shape.end(), {1, 1});
    const int64_t inner = w.shape[1], rows = static_cast<int64_t>(x.data.size()) / std::max<int64_t>(inner, 1);
    Array<T> image, made;
    image.shape = {rows, inner, 1, 1};
    image.data = x.data;
    for (int64_t i = 0; op.trans_a && i < rows * inner; ++i) *image.at(i) = *x.at(i % inner * rows + i / inner);
    made.shape = {rows, w.shape[0], 1, 1};
    made.data.swap(y.data);
    convolve<T>(Conv2d{}, image, w, nullptr, made, threads_);
    made.data.swap(y.data);
    if (op.alpha != 1) {
      for (T& value : y.data) value *= static_cast<T>(op.alpha);
    }
    if (!bias) return;
    reference::for_each_index<1>(y.shape, {reference::broadcast_strides(bias->shape, y.shape)},
                                 [&](int64_t at, const std::array<int64_t, 1>& from) {
                                   *y.at(at) += static_cast<T>(op.beta) * *bias->at(from[0]);
                                 });
  }

  void evaluate_node(const Node& node) {
    if (evaluate_from_f32(node)) return;
    std::vector<const Array<T>*> in;
    std::vector<std::optional<Shape>> shapes;
    std::vector<const Tensor*> values;
    std::vector<Tensor> made_values(node.inputs.size());  // shapes and the like that other nodes computed
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (id) load(id);
      in.push_back(id ? slot(id).get() : nullptr);
      shapes.push_back(id ? std::optional(slot(id)->shape) : std::nullopt);
      values.push_back(graph_.constant(id));
      if (!id || values.back() || !reads_value(node.op, i)) continue;
      made_values[i] = to_tensor(*slot(id));
      values.back() = &made_values[i];
    }
    const auto made = output_shapes(node.op, shapes, values, node.outputs.size());
    std::vector<std::shared_ptr<Array<T>>> out;
    std::vector<Array<T>*> to;
    for (size_t i = 0; i < made.size(); ++i) {
      const bool open = !made[i] || std::any_of(made[i]->begin(), made[i]->end(), [](int64_t dim) { return dim < 0; });
      const bool needed = node.outputs[i] && (i == 0 || reads_[static_cast<size_t>(node.outputs[i].index)] > 0);
      if (open && needed && !std::holds_alternative<Opaque>(node.op)) {
        throw Error(ErrorKind::unsupported, "the shape of output " + std::to_string(i) + " is not known");
      }
      if (!open && element_count(*made[i]) > kMostElements) {
        throw Error(ErrorKind::unsupported, "its output, " + to_string(*made[i]) + ", is too large to evaluate");
      }
      out.push_back(std::make_shared<Array<T>>(open ? Shape{0} : *made[i]));
      to.push_back(out.back().get());
    }
    if (out.empty()) throw Error(ErrorKind::bad_input, "it makes nothing");
    const DType dtype = node.outputs[0] ? graph_[node.outputs[0]].dtype : DType::f32;
    std::visit([&](const auto& op) { run(op, Call<T>{in, *out[0], threads_, dtype, {shapes, values}, to}); }, node.op);
    for (size_t i = 0; i < out.size(); ++i) {
      if (!node.outputs[i]) continue;
      const DType stored = graph_[node.outputs[i]].dtype;
      if (!is_float(stored) && stored != DType::string) {
        for (T& value : out[i]->data) value = whole(value, stored);
      }
      slot(node.outputs[i]) = std::move(out[i]);
    }
  }

  const Graph& graph_;
  int threads_;
  std::vector<Slot> arrays_;
  std::vector<int> reads_;
};

}  // namespace

std::vector<Tensor> evaluate(const Graph& graph, std::span<const Tensor> inputs, const EvaluateOptions& options) {
  return evaluate(graph, inputs, options, {});
}

std::vector<Tensor> evaluate(const Graph& graph, std::span<const Tensor> inputs, const EvaluateOptions& options,
                             const std::function<void(ValueId, const Tensor&)>& observe) {
  if (options.round_to_f32) return Evaluation<float>(graph, inputs, options.threads)(observe);
  return Evaluation<double>(graph, inputs, options.threads)(observe);
}

}  // namespace reducenet
