#include "formats/header/program.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/header/curves.h"
#include "formats/header/packing.h"
#include "formats/header/slots.h"
#include "formats/header/text.h"
#include "graph/resize.h"
#include "graph/strides.h"
#include "reducenet/error.h"
#include "reducenet/quantize.h"
#include "runtime/matrices.h"
#include "runtime/moves.h"
#include "runtime/narrow.h"

namespace reducenet::header {
namespace {

constexpr const char* kNoCurve = "NoCurve{}";
constexpr Layout kNarrow = Layout::bytes;

class Translator {
 public:
  explicit Translator(Program program) : program_(std::move(program)), slots_(program_, result_.blob) {}

  Translation operator()() {
    for (const Step& step : program_.steps) translate(step);
    const Slots::Sizes sizes = slots_.place(program_.outputs);
    result_.arena = sizes.arena;
    result_.input_size = sizes.inputs;
    result_.output_size = sizes.outputs;
    result_.calls = slots_.calls();
    return std::move(result_);
  }

 private:
  static size_t at(int index) { return static_cast<size_t>(index); }

  /// The layer's weights and bias as the integers that they become (quantize.h), and where the former will stand:
  /// `pack` lays out a step's weights, whose blocks of 16 output channels begin at `starts`.
  template <class Pack>
  std::string whole_weights(Step& step, Pack pack, const std::vector<int64_t>& starts) {
    const double x = static_cast<double>(slots_[step.inputs[0].buffer].affine.scale);
    const ByteLayer layer = reducenet::in_bytes(step.weight, step.bias, step.weight_shape[0], x);
    step.weight.assign(layer.weight.begin(), layer.weight.end());
    for (size_t o = 0; o < step.bias.size(); ++o) {
      step.bias[o] = x * static_cast<double>(layer.scales[o]) * layer.bias[o];
    }
    std::vector<float> scales = layer.scales;
    scales.resize(static_cast<size_t>(round_up(step.weight_shape[0], kBlock)), 1);
    return result_.blob.add_bytes(pack(step), starts, scales);
  }

  // Steps.

  static std::string comment(const Step& step) { return step.node + ": " + to_string(step.output.shape); }

  void translate(const Step& step) {
    ++result_.steps;
    result_.macs += step.macs;
    try {
      std::visit([&](const auto& op) { translate(op, step); }, step.op);
    } catch (const Error& error) {
      refuse(step, error.what());
    }
  }
  [[noreturn]] static void refuse(const Step& step, const std::string& why) {
    throw Error(ErrorKind::unsupported, "node '" + step.node + "' (" + describe(step.op) + "): " + why);
  }
  [[noreturn]] static void unknown() { throw Error(ErrorKind::unsupported, "a C++ header cannot run this op"); }

  /// Slots that a layer reads; residual −1: none.
  static std::vector<int> reads(int from, int residual) {
    return residual < 0 ? std::vector<int>{from} : std::vector<int>{from, residual};
  }
  std::string residual_of(int slot) const { return slot < 0 ? "nullptr" : slots_.pointer(slot); }
  /// Where the slopes of a step's output channels will stand, each `times` over; empty: it has none.
  std::string slopes(const Step& step, size_t times = 1) {
    std::vector<float> repeated;
    for (const float slope : step.epilogue.slopes) repeated.insert(repeated.end(), times, slope);
    return repeated.empty() ? "" : result_.blob.add(repeated);
  }
  std::string curve(const Step& step, const std::string& slopes) const {
    if (slots_[step.output.buffer].rounded) return slots_.rounding(step.output.buffer);
    if (!slopes.empty()) return "Slopes{" + slopes + "}";
    if (!step.epilogue.curve) return kNoCurve;
    return "[](float v) noexcept { return " + expression(*step.epilogue.curve) + "; }";
  }
  void translate(const Conv2d& op, const Step& step) {
    const Shape &x = step.inputs[0].shape, &y = step.output.shape, &w = step.weight_shape;
    const bool depthwise = op.groups > 1 && op.groups == x[1] && w[0] == x[1];
    const bool planes = op.groups == 1 && x[1] < kBlock && slots_[step.inputs[0].buffer].block == 0;
    const int64_t block = planes ? 1 : kBlock;
    const bool bytes = step.in_layout.has_value();
    int from = slots_.image(step.inputs[0].buffer, x, block);
    if (bytes) from = slots_.in_bytes(step.inputs[0].buffer, from);
    int residual = -1;
    if (step.epilogue.residual >= 0) {
      const Port& port = step.inputs[at(step.epilogue.residual)];
      residual = slots_.image(port);
      if (step.out_layout == kNarrow) residual = slots_.in_bytes(port.buffer, residual);
    }
    if (step.out_layout == kNarrow) slots_[step.output.buffer].rounded = true;
    const int to = slots_.output(step, kBlock);
    const int64_t reach = (y[3] - 1) * op.stride[1] + (w[3] - 1) * op.dilation[1] - op.padding.left - (x[3] - 1);
    slots_[from].left = std::max(slots_[from].left, op.padding.left);
    slots_[from].right = std::max({slots_[from].right, reach, int64_t{0}});

    const std::vector<Range> ranges = ranges_of(op, w, block);
    const auto pack = [&](const Step& s) { return depthwise ? pack_depthwise(s) : pack_conv(s, ranges, block); };
    Step rounded = step;
    std::vector<int64_t> starts;
    for (size_t o = 0; o < ranges.size(); ++o) {
      starts.push_back(depthwise ? static_cast<int64_t>(o) * w[2] * w[3] * kBlock : ranges[o].weights);
    }
    const std::string weights = bytes ? whole_weights(rounded, pack, starts) : result_.blob.add_weights(pack(step));
    const std::string bias = result_.blob.add(pack_bias(rounded, round_up(w[0], kBlock)));
    const std::string bent = slopes(step);
    const bool rows_first = element_count(w) < element_count(x);
    slots_.add(comment(step), reads(from, residual), to, [=, this, this_step = &step] {
      const Step& s = *this_step;
      std::string table, name = "nullptr";
      if (op.groups > 1 && !depthwise) {
        name = "ranges";
        for (const Range& r : ranges) table += fmt::format("{{{}, {}, {}}}, ", r.first, r.channels, r.weights);
        table = "    static constexpr Range ranges[] = {" + table + "};\n";
      }
      const int64_t pixel = op.stride[1] * block;
      const std::string call = depthwise ? fmt::format("depthwise<{}>", y[3])
                                         : fmt::format("conv<{}, {}, {}, {}>", y[3], ceil_div(y[1], kBlock),
                                                       pixel == kBlock ? pixel : 0, op.groups > 1);
      return fmt::format(
          "  {{\n{}"
          "    constexpr Conv p{{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
          "{}}};\n"
          "    {}(p, {}, {}, {}, {}, {}, {});\n  }}\n",
          table, y[0], y[2], y[3], ceil_div(y[1], kBlock), x[2], w[2], w[3], op.stride[0], op.padding.top,
          op.dilation[0], block, op.dilation[1] * block, pixel, slots_.layout(from), slots_.layout(to),
          slots_.layout(residual), name, depthwise ? 1 : x[1], number(s.epilogue.low), number(s.epilogue.high),
          rows_first, call, slots_.pointer(from, op.padding.left), weights, bias, residual_of(residual),
          slots_.pointer(to), curve(s, bent));
    });
  }

  void translate(const ConvTranspose2d& op, const Step& step) {
    const Shape &x = step.inputs[0].shape, &y = step.output.shape, &w = step.weight_shape;
    const int from = slots_.plain(step.inputs[0].buffer);
    const int residual = step.epilogue.residual < 0 ? -1 : slots_.plain(step.inputs[at(step.epilogue.residual)].buffer);
    const int to = slots_.output(step, 0);
    const std::string weights = result_.blob.add_weights({step.weight.begin(), step.weight.end()});
    const std::string bias = result_.blob.add(pack_bias(step, y[1]));
    const std::string bent = slopes(step, kBlock);  // a plane has one channel
    slots_.add(comment(step), reads(from, residual), to, [=, this, this_step = &step] {
      const Step& s = *this_step;
      return fmt::format(
          "  {{\n    constexpr ConvTranspose p{{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
          "{}}};\n"
          "    conv_transpose(p, {}, {}, {}, {}, {}, {});\n  }}\n",
          x[0], x[1], x[2], x[3], y[1], y[2], y[3], op.groups, w[2], w[3], op.stride[0], op.stride[1], op.padding.top,
          op.padding.left, op.dilation[0], op.dilation[1], number(s.epilogue.low), number(s.epilogue.high),
          slots_.pointer(from), weights, bias, residual_of(residual), slots_.pointer(to), curve(s, bent));
    });
  }

  void translate(const Gemm&, const Step& step) {
    if (step.weight.empty()) throw Error(ErrorKind::unsupported, "a C++ header multiplies by constant matrices only");
    int from = slots_.plain(step.inputs[0].buffer);
    if (step.in_layout) from = slots_.in_bytes(step.inputs[0].buffer, from);
    const int residual = step.epilogue.residual < 0 ? -1 : slots_.plain(step.inputs[at(step.epilogue.residual)].buffer);
    const int to = slots_.output(step, 0);
    const int64_t outputs = step.weight_shape[0], inputs = step.weight_shape[1];
    Step rounded = step;
    std::vector<int64_t> starts;
    for (int64_t o = 0; o < outputs; o += kBlock) starts.push_back(o * inputs);
    const std::string weights =
        step.in_layout ? whole_weights(rounded, pack_affine, starts) : result_.blob.add_weights(pack_affine(step));
    const std::string bias = result_.blob.add(pack_bias(rounded, round_up(outputs, kBlock)));
    const std::string bent = slopes(step);
    slots_.add(comment(step), reads(from, residual), to, [=, this, this_step = &step] {
      const Step& s = *this_step;
      return fmt::format("  affine({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});\n", s.output.shape[0], inputs, outputs,
                         number(s.epilogue.low), number(s.epilogue.high), slots_.pointer(from), weights, bias,
                         residual_of(residual), slots_.pointer(to), curve(s, bent));
    });
  }
  void translate(const MatMul&, const Step& step) {
    const Shape &a = step.inputs[0].shape, &b = step.inputs[1].shape;
    const int64_t rows = a.size() > 1 ? a[a.size() - 2] : 1, columns = b.size() > 1 ? b.back() : 1;
    std::vector<int64_t> starts[2];
    for (const auto& from : matrix_starts(a, b, step.output.shape)) {
      for (size_t i = 0; i < 2; ++i) starts[i].push_back(from[i]);
    }
    const int left = slots_.plain(step.inputs[0].buffer), right = slots_.plain(step.inputs[1].buffer);
    const int to = slots_.output(step, 0);
    slots_.add(
        comment(step), {left, right}, to,
        [=, this, inner = a.back(), matrices = starts[0].size(), from_a = list(starts[0]), from_b = list(starts[1])] {
          return fmt::format(
              "  {{\n    static constexpr Size from_a[] = {}, from_b[] = {};\n"
              "    matmul({}, {}, {}, {}, from_a, from_b, {}, {}, {});\n  }}\n",
              from_a, from_b, matrices, rows, inner, columns, slots_.pointer(left), slots_.pointer(right),
              slots_.pointer(to));
        });
  }

  void translate(const OneOf<Slice, SplitAxis, Gather, Repeat, SpaceDepth, Where> auto&, const Step& step) {
    move(step, step.table, static_cast<double>(step.outside));
  }
  /// Elements only move, as the table says (runtime/moves.h); `outside` are those that come from nowhere.
  void move(const Step& step, std::vector<int64_t> table, double outside) {
    const int64_t length = shorten(table);
    const std::string from = list(table);
    const int x = slots_.plain(step.inputs[0].buffer), to = slots_.output(step, 0);
    slots_.add(comment(step), {x}, to, [=, this, runs = table.size()] {
      return fmt::format("  {{\n    static constexpr Size from[] = {};\n    gather({}, {}, from, {}, {}, {});\n  }}\n",
                         from, runs, length, number(outside), slots_.pointer(x), slots_.pointer(to));
    });
  }

  void translate_pool(const Step& step, Size2 kernel, Size2 stride, const Padding& padding, Size2 dilation, bool mean,
                      bool padded) {
    const Shape &x = step.inputs[0].shape, &y = step.output.shape;
    const int from = slots_.image(step), to = slots_.output(step, kBlock);
    slots_.add(comment(step), {from}, to, [=, this] {
      return fmt::format(
          "  {{\n    constexpr Pool p{{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
          "{}}};\n"
          "    pool(p, {}, {});\n  }}\n",
          y[0], ceil_div(y[1], kBlock), x[2], x[3], y[2], y[3], kernel[0], kernel[1], stride[0], stride[1], padding.top,
          padding.left, padding.bottom, padding.right, dilation[0], dilation[1], slots_.layout(from), slots_.layout(to),
          mean, padded, slots_.pointer(from), slots_.pointer(to));
    });
  }
  void translate(const AveragePool& op, const Step& step) {
    translate_pool(step, op.kernel, op.stride, op.padding, {1, 1}, true, op.count_include_pad);
  }
  void translate(const MaxPool& op, const Step& step) {
    translate_pool(step, op.kernel, op.stride, op.padding, op.dilation, false, false);
  }

  /// y[k] = f(x[k]) or f(a[k], b[k]), element by element: over images where they are images, over all floats otherwise.
  void translate_elements(const Step& step, const std::string& f) {
    const Shape& shape = step.output.shape;
    const bool is_image =
        shape.size() == 4 && std::ranges::all_of(step.inputs, [&](const Port& port) {
          return port.shape == shape && slots_[port.buffer].block == kBlock && slots_[port.buffer].shape == shape;
        });
    std::vector<int> from;
    for (const Port& port : step.inputs) from.push_back(is_image ? port.buffer : slots_.plain(port.buffer));
    const int to = slots_.output(step, is_image ? kBlock : 0);
    slots_.add(comment(step), from, to, [=, this, this_step = &step] {
      const Step& s = *this_step;
      const std::string body = fmt::format(
          "[](float* y, const float* a, const float* {}, Size count) noexcept {{\n"
          "    for (Size k = 0; k < count; ++k) {{\n"
          "      y[k] = [](float v{}) noexcept {{ {} }}(a[k]{});\n    }}\n  }}",
          from.size() > 1 ? "b" : "", from.size() > 1 ? ", float w" : "", finish(s.epilogue, f),
          from.size() > 1 ? ", b[k]" : "");
      const std::string size =
          is_image ? fmt::format("{}, {}, {}, {}", shape[0], blocks_of(slots_[to]), shape[2], shape[3] * kBlock)
                   : fmt::format("1, 1, 1, {}", element_count(shape));
      return fmt::format("  for_each_row({}, {}, {}, {}, {}, {}, {}, {});\n", size, slots_.layout(to),
                         slots_.layout(from[0]), slots_.layout(from.back()), slots_.pointer(to),
                         slots_.pointer(from[0]), slots_.pointer(from.back()), body);
    });
  }
  void translate(const Activation&, const Step& step) { translate_elements(step, "v"); }
  void translate(const Fade&, const Step& step) { translate_elements(step, "v"); }
  void translate(const Unary& op, const Step& step) { translate_elements(step, expression(op)); }
  void translate(const Binary& op, const Step& step) {
    if (step.inputs[0].shape == step.inputs[1].shape) return translate_elements(step, expression(op));
    translate_broadcast(step, expression(op));
  }
  void translate(const PRelu&, const Step& step) { translate_broadcast(step, "(v < 0 ? w * v : v)"); }

  void translate_broadcast(const Step& step, const std::string& f) {
    translate_indexed(step, broadcast_strides(step.inputs[0].shape, step.output.shape),
                      broadcast_strides(step.inputs[1].shape, step.output.shape), f);
  }
  void translate(const Transpose& op, const Step& step) {
    const std::vector<int64_t> dense = dense_strides(step.inputs[0].shape);
    std::vector<int64_t> strides;
    for (const int64_t axis : op.perm) strides.push_back(dense[static_cast<size_t>(axis)]);
    translate_indexed(step, strides, strides, "v");
  }

  void translate_indexed(const Step& step, std::vector<int64_t> sa, std::vector<int64_t> sb, const std::string& f) {
    std::vector<int> from;
    for (const Port& port : step.inputs) from.push_back(slots_.plain(port.buffer));
    const int to = slots_.output(step, 0);
    Shape shape = step.output.shape;
    if (shape.empty()) shape = sa = sb = {1};
    slots_.add(comment(step), from, to, [=, this, this_step = &step] {
      return fmt::format(
          "  {{\n    constexpr Size shape[] = {}, sa[] = {}, sb[] = {};\n"
          "    for_each_index(shape, sa, sb, {}, {}, {}, [](float v, float{}) noexcept {{ {} }});\n  }}\n",
          list(shape), list(sa), list(sb), slots_.pointer(from[0]), slots_.pointer(from.back()), slots_.pointer(to),
          from.size() > 1 ? " w" : "", finish(this_step->epilogue, f));
    });
  }

  void view(const Step& step) {
    const int from = slots_.plain(step.inputs[0].buffer);
    slots_[slots_.output(step, 0)].view_of = from;
  }
  void translate(const Flatten&, const Step& step) { view(step); }
  void translate(const Reshape&, const Step& step) { view(step); }
  void translate(const Squeeze&, const Step& step) { view(step); }

  void translate(const Pad& op, const Step& step) {
    const Shape &x = step.inputs[0].shape, &y = step.output.shape;
    if (x.size() != 4 || x[0] != y[0] || x[1] != y[1] || op.begin[0] != 0 || op.begin[1] != 0) {
      return move(step, sources(op, x, y), op.value);
    }
    const int from = slots_.image(step), to = slots_.output(step, kBlock);
    const int mode = op.mode == Pad::Mode::constant ? 0 : op.mode == Pad::Mode::reflect ? 1 : 2;
    slots_.add(comment(step), {from}, to, [=, this] {
      return fmt::format(
          "  {{\n    constexpr Pad p{{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}};\n    pad(p, {}, {});\n  }}\n",
          y[0], ceil_div(y[1], kBlock), x[2], x[3], y[2], y[3], op.begin[2], op.begin[3], mode, number(op.value),
          slots_.layout(from), slots_.layout(to), slots_.pointer(from), slots_.pointer(to));
    });
  }

  void translate(const Resize& op, const Step& step) {
    const Shape& y = step.output.shape;
    const PlaneTaps taps = plane_taps(op, step.inputs[0].shape, y, step.scales);
    const int64_t each = std::ssize(taps.indices) / std::max<int64_t>(y[2] + y[3], 1);
    const std::string places = list(taps.indices), weights = result_.blob.add(taps.weights);
    const int from = slots_.image(step), to = slots_.output(step, kBlock);
    slots_.add(comment(step), {from}, to, [=, this] {
      return fmt::format(
          "  {{\n    static constexpr Size taps[] = {};\n    constexpr Resize p{{{}, {}, {}, {}, {}, {}, {}}};\n"
          "    resize(p, taps, {}, {}, {});\n  }}\n",
          places, y[0], ceil_div(y[1], kBlock), y[2], y[3], each, slots_.layout(from), slots_.layout(to), weights,
          slots_.pointer(from), slots_.pointer(to));
    });
  }

  void translate(const Concat& op, const Step& step) {
    const Shape& y = step.output.shape;
    const auto axis = static_cast<size_t>(op.axis < 0 ? op.axis + static_cast<int64_t>(y.size()) : op.axis);
    const bool channels = y.size() == 4 && axis == 1;
    std::vector<int> from;
    for (const Port& port : step.inputs) from.push_back(channels ? slots_.image(port) : slots_.plain(port.buffer));
    const int to = slots_.output(step, channels ? kBlock : 0);
    slots_.add(comment(step), from, to, [=, this, this_step = &step] {
      const auto product = [](auto first, auto last) { return element_count(Shape(first, last)); };
      std::string text;
      int64_t first = 0;
      for (size_t i = 0; i < from.size(); ++i) {
        const Shape& x = this_step->inputs[i].shape;
        if (channels) {
          text += fmt::format("  place_channels({}, {}, {}, {}, {}, {}, {}, {}, {});\n", x[0], x[1], x[2], x[3], first,
                              slots_.layout(from[i]), slots_.layout(to), slots_.pointer(from[i]), slots_.pointer(to));
          first += x[1];
        } else {
          const auto cut = static_cast<std::ptrdiff_t>(axis);
          const int64_t run = product(x.begin() + cut, x.end());
          text += fmt::format("  copy_runs({}, {}, {}, {}, {} + {});\n", product(y.begin(), y.begin() + cut), run,
                              product(y.begin() + cut, y.end()), slots_.pointer(from[i]), slots_.pointer(to), first);
          first += run;
        }
      }
      return text;
    });
  }

  void translate(const Softmax& op, const Step& step) {
    const Shape& y = step.output.shape;
    const auto axis = static_cast<size_t>(op.axis < 0 ? op.axis + static_cast<int64_t>(y.size()) : op.axis);
    const int from = slots_.plain(step.inputs[0].buffer), to = slots_.output(step, 0);
    const int64_t inner = element_count(Shape(y.begin() + static_cast<std::ptrdiff_t>(axis) + 1, y.end()));
    slots_.add(comment(step), {from}, to, [=, this] {
      return fmt::format("  softmax({}, {}, {}, {}, {}, {});\n", element_count(y) / std::max<int64_t>(y[axis], 1),
                         y[axis], inner, op.log, slots_.pointer(from), slots_.pointer(to));
    });
  }

  void translate(const Normalize& op, const Step& step) {
    const int from = slots_.plain(step.inputs[0].buffer), to = slots_.output(step, 0);
    const std::string scale = result_.blob.add({step.weight.begin(), step.weight.end()});
    const std::string bias = result_.blob.add(pack_bias(step, std::ssize(step.weight)));
    const int64_t rows = step.weight_shape[0], length = step.weight_shape[1];
    slots_.add(comment(step), {from}, to, [=, this, this_step = &step] {
      return fmt::format("  normalize({}, {}, {}, {}, {}, {}, {}, {});\n",
                         element_count(this_step->output.shape) / std::max<int64_t>(length, 1), rows, length,
                         number(op.epsilon), slots_.pointer(from), scale, bias, slots_.pointer(to));
    });
  }

  void translate(const BatchNorm&, const Step&) { unknown(); }          // lowered to convolutions
  void translate(const GlobalAveragePool&, const Step&) { unknown(); }  // lowered to average pools
  void translate(const OneOf<Identity, Dropout, Opaque, Compare, Variadic, GlobalMaxPool, Lrn, Reduce, ArgReduce,
                             Hardmax, TopK, ScatterNd, ShapeOf, ConstantOfShape, Arange, Cast> auto&,
                 const Step&) {
    unknown();
  }

  Program program_;
  Translation result_;
  Slots slots_;
};

}  // namespace

Translation translate(const Graph& graph) {
  const auto scales = quantization(graph);
  Program program = lower(scales ? roundings_as_clamps(graph) : graph, 1);
  if (scales) mark_narrow(program, DType::i8, &*scales);
  return Translator(std::move(program))();
}

}  // namespace reducenet::header
