#include <algorithm>
#include <utility>

#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"

// How the ops that reduce, move, select, repeat and count elements are read and written.

namespace reducenet {
namespace {

/// First operator set in which the op takes a list (axes, sizes, starts…) as an input instead of an attribute.
int64_t list_is_input_since(std::string_view type) {
  if (type == "Slice") return 10;
  if (type == "Squeeze" || type == "Unsqueeze" || type == "Split" || type == "ReduceSum") return 13;
  return 18;  // the other reductions
}

std::vector<int64_t> read_list(NodeReader& r, const char* attribute) {
  if (r.opset() >= list_is_input_since(r.type())) return {};
  if (r.has(1)) r.refuse("an input that its operator set does not have");
  return r.integers(attribute).value_or(std::vector<int64_t>());
}

onnx::NodeProto& write_list(const std::string& type, const char* attribute, const std::vector<int64_t>& list,
                            NodeWriter& w) {
  const bool as_input = w.opset() >= list_is_input_since(type);
  std::vector<std::string> inputs = w.inputs();
  if (!as_input && inputs.size() > 1) {
    w.refuse("its second input needs operator set " + std::to_string(list_is_input_since(type)));
  }
  if (as_input && inputs.size() == 1 && !list.empty()) {
    inputs.push_back(w.constant(attribute, Tensor::of({static_cast<int64_t>(list.size())}, list)));
  }
  auto& node = w.emit(type, inputs);
  if (!as_input && !list.empty()) set(node, attribute, list);
  return node;
}

/// The kind, counted from the first, whose name is the node's type.
template <class O>
O kind_named(const std::string& type) {
  O op;
  op.kind = {};
  while (name_of(Op(op)) != type) op.kind = static_cast<decltype(op.kind)>(static_cast<int>(op.kind) + 1);
  return op;
}

/// Puts the numbers of some axes, which may be counted from the end, among those of all axes of the input; refuses an
/// axis that it does not have.
template <class T>
void put_at_axes(NodeReader& r, const std::vector<int64_t>& axes, const std::vector<T>& numbers, std::vector<T>& all) {
  for (size_t i = 0; i < axes.size() && i < numbers.size(); ++i) {
    const int64_t axis = axes[i] < 0 ? axes[i] + std::ssize(all) : axes[i];
    if (axis < 0 || axis >= std::ssize(all)) return r.refuse("an axis that its input does not have");
    all[static_cast<size_t>(axis)] = numbers[i];
  }
}

/// Pads that stand for the axes of the fourth input, as pads of all axes.
void pad_axes(NodeReader& r, Pad& op) {
  const std::vector<int64_t> axes = r.fold_integers(3);
  const std::optional<Shape> x = r.shape(0);
  if (!x) return r.refuse("pads for some axes of a value that has an unknown number of them");
  if (axes.size() != op.begin.size()) r.refuse("as many pads as axes, twice, are needed");
  for (std::vector<int64_t>* const side : {&op.begin, &op.end}) {
    put_at_axes(r, axes, std::exchange(*side, Shape(x->size())), *side);
  }
}

/// Scales or sizes of some axes, as those of all.
void resize_axes(NodeReader& r, const std::vector<int64_t>& axes) {
  const bool by_size = r.has(3);
  const Tensor* const given = r.constant(by_size ? 3 : 2);
  const std::optional<Shape> x = r.shape(0);
  if (!given || !x || given->size() != std::ssize(axes)) return r.refuse("axes of what is not constant");
  if (by_size && std::ranges::any_of(*x, [](int64_t size) { return size < 0; })) {
    return r.refuse("sizes of some axes, and others not known");
  }
  std::vector<double> all(x->size(), 1);
  if (by_size) std::ranges::copy(*x, all.begin());
  put_at_axes(r, axes, given->to_doubles(), all);
  if (!r.refusal().empty()) return;
  const Tensor full = Tensor::from_doubles({std::ssize(all)}, all).cast(given->dtype());
  if (by_size) {
    r.read({r.input(0), {}, {}, r.constant("sizes", full)});
  } else {
    r.read({r.input(0), {}, r.constant("scales", full)});
  }
}

}  // namespace

Op read_reduce(NodeReader& r) {
  auto op = kind_named<Reduce>(r.type());
  op.axes = read_list(r, "axes");
  op.keep_dims = r.integer("keepdims", 1) != 0;
  if (r.opset() >= list_is_input_since(r.type())) op.none_is_identity = r.integer("noop_with_empty_axes", 0) != 0;
  return op;
}

void write(const Reduce& op, NodeWriter& w) {
  auto& node = write_list(name_of(op), "axes", op.axes, w);
  set(node, "keepdims", int64_t{op.keep_dims});
  if (op.none_is_identity) set(node, "noop_with_empty_axes", int64_t{1});
}

Op read_arg_reduce(NodeReader& r) {
  return ArgReduce{r.type() == "ArgMin", r.integer("axis", 0), r.integer("keepdims", 1) != 0,
                   r.opset() >= 12 && r.integer("select_last_index", 0) != 0};
}

void write(const ArgReduce& op, NodeWriter& w) {
  auto& node = w.emit(name_of(op));
  set(node, "axis", op.axis);
  set(node, "keepdims", int64_t{op.keep_dims});
  if (op.last) set(node, "select_last_index", int64_t{1});
}

Op read_top_k(NodeReader& r) {
  TopK op{r.integer("axis", -1), r.opset() >= 11 && r.integer("largest", 1) == 0};
  if (r.opset() >= 11) r.integer("sorted", 1);  // else in any order, this one too
  r.allow_outputs(2);
  return op;
}

void write(const TopK& op, NodeWriter& w) {
  auto& node = w.emit("TopK");
  set(node, "axis", op.axis);
  if (op.smallest) set(node, "largest", int64_t{0});
}

Op read_slice(NodeReader& r) {
  Slice op;
  op.starts = read_list(r, "starts");
  if (r.opset() < 10) {
    op.ends = r.integers("ends").value_or(std::vector<int64_t>());
    op.axes = r.integers("axes").value_or(std::vector<int64_t>());
  } else if (!r.has(2)) {
    r.refuse("no starts or ends");
  }
  return op;
}

void write(const Slice& op, NodeWriter& w) {
  if (w.opset() < 10) {
    auto& node = write_list("Slice", "starts", op.starts, w);
    set(node, "ends", op.ends);
    if (!op.axes.empty()) set(node, "axes", op.axes);
    return;
  }
  std::vector<std::string> inputs = w.inputs();
  if (inputs.size() == 1) {
    const auto add = [&](const char* name, const std::vector<int64_t>& list) {
      inputs.push_back(w.constant(name, Tensor::of({static_cast<int64_t>(list.size())}, list)));
    };
    add("starts", op.starts), add("ends", op.ends);
    if (!op.axes.empty()) add("axes", op.axes);
  }
  w.emit("Slice", inputs);
}

Op read_split(NodeReader& r) {
  SplitAxis op{r.integer("axis", 0), read_list(r, "split")};
  if (r.opset() >= 18) r.integer("num_outputs", 1);  // as many as there are
  r.allow_outputs(static_cast<size_t>(-1));
  return op;
}

void write(const SplitAxis& op, NodeWriter& w) {
  auto& node = write_list("Split", "split", op.sizes, w);
  set(node, "axis", op.axis);
  if (w.opset() >= 18 && node.input_size() == 1) set(node, "num_outputs", static_cast<int64_t>(node.output_size()));
}

Op read_gather(NodeReader& r) {
  return Gather{r.integer("axis", 0)};
}

void write(const Gather& op, NodeWriter& w) {
  set(w.emit("Gather"), "axis", op.axis);
}

Op read_squeeze(NodeReader& r) {
  const bool insert = r.type() == "Unsqueeze";
  Squeeze op{insert, read_list(r, "axes")};
  if (insert && op.axes.empty() && !r.has(1)) r.refuse("no axes");
  return op;
}

void write(const Squeeze& op, NodeWriter& w) {
  write_list(name_of(op), "axes", op.axes, w);
}

Op read_pad(NodeReader& r) {
  Pad op;
  const bool attributes = r.opset() < 11;
  const std::string mode = r.text("mode", "constant");
  if (mode == "reflect" || mode == "edge") {
    op.mode = mode == "edge" ? Pad::Mode::edge : Pad::Mode::reflect;
  } else if (mode != "constant") {
    r.refuse("mode " + mode);
  }
  const std::vector<int64_t> pads =
      attributes ? r.integers("pads").value_or(std::vector<int64_t>()) : r.fold_integers(1);
  op.value = attributes ? r.real("value", 0) : r.fold_scalar(2, 0);
  if (!is_float(r.dtype(0)) && op.value != 0) r.refuse("padding of integers by other than 0");
  const auto ends = pads.begin() + std::ssize(pads) / 2;
  op.begin.assign(pads.begin(), ends);
  op.end.assign(ends, pads.end());
  if (r.has(3)) pad_axes(r, op);
  r.keep(1);
  return op;
}

void write(const Pad& op, NodeWriter& w) {
  constexpr const char* kModes[] = {"constant", "reflect", "edge"};
  std::vector<int64_t> pads = op.begin;
  pads.insert(pads.end(), op.end.begin(), op.end.end());
  if (w.opset() < 11) {
    auto& node = w.emit("Pad");
    set(node, "mode", std::string(kModes[static_cast<size_t>(op.mode)]));
    set(node, "pads", pads);
    set(node, "value", op.value);
    return;
  }
  std::vector<std::string> inputs = w.inputs();
  inputs.push_back(w.constant("pads", Tensor::of({static_cast<int64_t>(pads.size())}, pads)));
  if (op.value != 0) inputs.push_back(w.scalar("value", op.value));
  set(w.emit("Pad", inputs), "mode", std::string(kModes[static_cast<size_t>(op.mode)]));
}

Op read_repeat(NodeReader& r) {
  return kind_named<Repeat>(r.type());
}

Op read_space_depth(NodeReader& r) {
  SpaceDepth op;
  op.block = r.integer("blocksize", 0);
  if (r.type() == "SpaceToDepth") {
    op.kind = SpaceDepth::Kind::space_to_depth;
  } else if (r.opset() >= 11) {
    const std::string mode = r.text("mode", "DCR");
    if (mode == "CRD") op.kind = SpaceDepth::Kind::depth_to_space_crd;
    if (mode != "CRD" && mode != "DCR") r.refuse("mode " + mode);
  }
  return op;
}

void write(const SpaceDepth& op, NodeWriter& w) {
  const bool crd = op.kind == SpaceDepth::Kind::depth_to_space_crd;
  if (crd && w.opset() < 11) w.refuse("this order of channels needs operator set 11");
  auto& node = w.emit(name_of(op));
  set(node, "blocksize", op.block);
  if (crd) set(node, "mode", std::string("CRD"));
}

namespace {

constexpr const char* kModes[] = {"nearest", "linear", "cubic"};
constexpr const char* kCoordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"};
constexpr const char* kRoundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};

template <class E, size_t N>
E chosen(NodeReader& r, const char* attribute, const char* const (&names)[N], E otherwise) {
  const std::string text = r.text(attribute, names[static_cast<size_t>(otherwise)]);
  const auto found = std::find(names, names + N, text);
  if (found == names + N) r.refuse(std::string(attribute) + " " + text);
  return static_cast<E>(found == names + N ? 0 : found - names);
}

}  // namespace

// Upsample-9 and Resize-10 take x, scales; element i comes from ⌊i/scale⌋, or lies at i/scale.
Op read_resize(NodeReader& r) {
  Resize op;
  op.mode = chosen(r, "mode", kModes, Resize::Mode::nearest);
  if (r.opset() < 11) {
    op.coordinates = Resize::Coordinates::asymmetric;
    op.rounding = Resize::Rounding::floor;
    if (op.mode == Resize::Mode::cubic) r.refuse("cubic interpolation before operator set 11");
    if (r.type() == "Upsample" && r.opset() != 9) r.refuse("Upsample outside operator set 9");
    r.arrange({0, -1, 1});
    return op;
  }
  op.coordinates = chosen(r, "coordinate_transformation_mode", kCoordinates, Resize::Coordinates::half_pixel);
  op.rounding = chosen(r, "nearest_mode", kRoundings, Resize::Rounding::prefer_floor);
  op.cubic_a = r.real("cubic_coeff_a", -0.75);
  op.exclude_outside = r.integer("exclude_outside", 0) != 0;
  r.real("extrapolation_value", 0);
  if (op.exclude_outside && op.mode != Resize::Mode::cubic) r.refuse("exclude_outside with another mode than cubic");
  if (r.opset() >= 18) {
    if (r.integer("antialias", 0) != 0) r.refuse("antialias");
    if (r.text("keep_aspect_ratio_policy", "stretch") != "stretch") r.refuse("keep_aspect_ratio_policy");
    if (const auto axes = r.integers("axes")) resize_axes(r, *axes);
  }
  if (r.type() == "Upsample") r.refuse("Upsample outside operator set 9");
  return op;
}

void write(const Resize& op, NodeWriter& w) {
  if (w.opset() < 11) {
    const bool same = op.coordinates == Resize::Coordinates::asymmetric && op.rounding == Resize::Rounding::floor;
    if (!same || w.input(2).empty()) w.refuse("this way to resize needs operator set 11");
    auto& node = w.emit(w.opset() < 10 ? "Upsample" : "Resize", {w.input(0), w.input(2)});
    set(node, "mode", std::string(kModes[static_cast<size_t>(op.mode)]));
    return;
  }
  std::vector<std::string> inputs = w.inputs();
  if (w.opset() < 13 && inputs.size() > 1 && inputs[1].empty()) {  // there roi is not optional
    inputs[1] = w.constant("roi", Tensor::of({0}, std::vector<float>()));
  }
  auto& node = w.emit("Resize", inputs);
  set(node, "mode", std::string(kModes[static_cast<size_t>(op.mode)]));
  set(node, "coordinate_transformation_mode", std::string(kCoordinates[static_cast<size_t>(op.coordinates)]));
  set(node, "nearest_mode", std::string(kRoundings[static_cast<size_t>(op.rounding)]));
  if (op.mode == Resize::Mode::cubic) set(node, "cubic_coeff_a", op.cubic_a);
  if (op.exclude_outside) set(node, "exclude_outside", int64_t{1});
}

Op read_shape(NodeReader& r) {
  ShapeOf op{.size = r.type() == "Size"};
  if (!op.size && r.opset() >= 15) {
    op.start = r.integer("start", 0);
    op.end = r.integer("end", op.end);
  }
  return op;
}

void write(const ShapeOf& op, NodeWriter& w) {
  const ShapeOf whole{.size = op.size};
  if (op != whole && w.opset() < 15) w.refuse("a part of the shape needs operator set 15");
  auto& node = w.emit(name_of(op));
  if (op.start != whole.start) set(node, "start", op.start);
  if (op.end != whole.end) set(node, "end", op.end);
}

Op read_constant_of_shape(NodeReader& r) {
  const std::optional<Tensor> value = r.tensor("value");
  if (!value) return ConstantOfShape{};
  if (value->size() != 1) r.refuse("a value that is not one number");
  return ConstantOfShape{value->size() == 1 ? value->to_doubles()[0] : 0, value->dtype()};
}

void write(const ConstantOfShape& op, NodeWriter& w) {
  set(w.emit("ConstantOfShape"), "value", Tensor::filled({1}, op.value, op.dtype));
}

Op read_cast(NodeReader& r) {
  const bool like = r.type() == "CastLike";
  const std::optional<DType> to = like ? r.certain_dtype(1) : dtype_of(static_cast<int>(r.integer("to", 0)));
  if (like && to == DType::string) r.refuse("the type of its second input is not known");
  if (r.opset() >= 19) r.integer("saturate", 1);  // concerns 8-bit floats only
  if (!to) r.refuse("an element type that is not understood");
  if (r.dtype(0) == DType::string) r.refuse("its input is not numbers");
  return Cast{to.value_or(DType::f32)};
}

void write(const Cast& op, NodeWriter& w) {
  if (!w.input(1).empty() && w.opset() >= 15) {
    w.emit("CastLike");
  } else {
    set(w.emit("Cast", {w.input(0)}), "to", static_cast<int64_t>(onnx_type_of(op.to)));
  }
}

Op read_normalize(NodeReader& r) {
  auto op = kind_named<Normalize>(r.type());
  op.epsilon = r.real("epsilon", 1e-5f);
  if (op.kind == Normalize::Kind::layer) {
    op.axis = r.integer("axis", -1);
    r.allow_outputs(3);
  }
  if (op.kind == Normalize::Kind::group) {
    op.groups = r.integer("num_groups", 0);
    op.per_group = r.opset() < 21;
  }
  if (op.kind != Normalize::Kind::instance) r.integer("stash_type", 1);  // the precision inside
  return op;
}

void write(const Normalize& op, NodeWriter& w) {
  const bool group = op.kind == Normalize::Kind::group;
  if (group && op.per_group != (w.opset() < 21)) w.refuse("its parameters have another meaning in this operator set");
  auto& node = w.emit(name_of(op));
  set(node, "epsilon", op.epsilon);
  if (op.kind == Normalize::Kind::layer) set(node, "axis", op.axis);
  if (group) set(node, "num_groups", op.groups);
}

Op read_lrn(NodeReader& r) {
  return Lrn{r.integer("size", 0), r.real("alpha", 1e-4f), r.real("beta", 0.75), r.real("bias", 1)};
}

void write(const Lrn& op, NodeWriter& w) {
  auto& node = w.emit("LRN");
  set(node, "size", op.size);
  set(node, "alpha", op.alpha);
  set(node, "beta", op.beta);
  set(node, "bias", op.bias);
}

}  // namespace reducenet
