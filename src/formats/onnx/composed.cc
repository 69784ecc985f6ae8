#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/onnx/table.h"
#include "reducenet/error.h"

// Operators that are read as several ops, of which the last stands in the node's place.

namespace reducenet {

/// By constant places along the first axes, which become one: a Gather from that axis.
Op read_gather_nd(NodeReader& r) {
  const std::vector<int64_t> places = r.fold_integers(1);
  const std::optional<Shape> x = r.shape(0), to = r.shape(1);
  if (r.opset() >= 12 && r.integer("batch_dims", 0) != 0) r.refuse("batch_dims");
  const int64_t axes = to && !to->empty() ? to->back() : 0;
  const bool fits = x && axes >= 1 && axes <= std::ssize(*x);
  const auto open = [](int64_t size) { return size < 0; };
  if (!fits || std::any_of(x->begin(), x->begin() + axes, open) ||
      std::count_if(x->begin() + axes, x->end(), open) > 1) {
    r.refuse("places in an input of no fixed size");
  }
  if (!r.refusal().empty()) return Gather{};
  const Shape indexed(x->begin(), x->begin() + axes);
  Shape joined{element_count(indexed)};
  joined.insert(joined.end(), x->begin() + axes, x->end());
  // The first axis that stays may be the batch: whatever it is.
  if (joined.size() > 1 && std::ranges::none_of(joined, open) && element_count(joined) > 0) joined[1] = -1;
  std::vector<int64_t> flat;
  for (size_t i = 0; i < places.size(); i += static_cast<size_t>(axes)) {
    int64_t place = 0;
    for (size_t axis = 0; axis < indexed.size(); ++axis) {
      const int64_t at = places[i + axis], size = indexed[axis];
      if (at < -size || at >= size) {
        throw Error(ErrorKind::bad_input, fmt::format("index {} of an axis of {}", at, size));
      }
      place = place * size + (at < 0 ? at + size : at);
    }
    flat.push_back(place);
  }
  const ValueId target = r.constant("shape", Tensor::of({std::ssize(joined)}, joined));
  const ValueId rows = r.step("rows", Reshape{}, {r.input(0), target});
  r.read({rows, r.constant("places", Tensor::of(Shape(to->begin(), to->end() - 1), flat))});
  return Gather{0};
}

/// Sums along one of the last two axes: a product with a triangle of ones, the same for finite numbers.
Op read_cum_sum(NodeReader& r) {
  constexpr int64_t kLongest = 4096;
  const std::vector<int64_t> axes = r.fold_integers(1);
  const bool exclusive = r.integer("exclusive", 0) != 0, reverse = r.integer("reverse", 0) != 0;
  const std::optional<Shape> x = r.shape(0);
  const int64_t rank = x ? std::ssize(*x) : 0;
  const int64_t axis = axes.size() != 1 ? rank : axes[0] < 0 ? axes[0] + rank : axes[0];
  const bool fits = axis >= 0 && axis < rank && axis >= rank - 2;
  const int64_t size = fits ? (*x)[static_cast<size_t>(axis)] : -1;
  if (size < 0 || size > kLongest) r.refuse("sums along an axis that is not one of the last two, or of no fixed size");
  if (!r.refusal().empty()) return MatMul{};
  const bool last = axis == rank - 1;
  std::vector<double> ones(static_cast<size_t>(size * size));
  for (int64_t from = 0; from < size; ++from) {
    for (int64_t into = 0; into < size; ++into) {
      const int64_t ahead = reverse ? from - into : into - from;
      const auto place = static_cast<size_t>(last ? from * size + into : into * size + from);
      ones[place] = ahead > 0 || (ahead == 0 && !exclusive) ? 1 : 0;
    }
  }
  const ValueId triangle = r.constant("ones", Tensor::from_doubles({size, size}, ones).cast(r.dtype(0)));
  r.read(last ? std::vector{r.input(0), triangle} : std::vector{triangle, r.input(0)});
  return MatMul{};
}

/// x / √(mean(x²) + ε) · scale, the mean over the axes from `axis` on.
Op read_rms_norm(NodeReader& r) {
  const auto rank = static_cast<int64_t>(r.shape(0).value_or(Shape{}).size());
  const int64_t given = r.integer("axis", -1), first = given < 0 ? given + rank : given;
  const double epsilon = r.real("epsilon", 1e-5f);
  if (r.integer("stash_type", 1) != 1 || r.dtype(0) != DType::f32) r.refuse("sums in another type than float32");
  if (first < 0 || first >= rank) r.refuse("axes that are not known");
  const Binary product{Binary::Kind::mul};
  if (!r.refusal().empty()) return product;
  Reduce mean{.kind = Reduce::Kind::mean};
  for (int64_t axis = first; axis < rank; ++axis) mean.axes.push_back(axis);
  const ValueId x = r.input(0), square = r.step("square", product, {x, x});
  const ValueId power = r.step("mean", mean, {square});
  const ValueId added = r.step("sum", Binary{Binary::Kind::add}, {power, r.scalar("epsilon", epsilon)});
  const ValueId root = r.step("root", Unary{Unary::Kind::sqrt}, {added});
  r.read({r.step("ratio", Binary{Binary::Kind::div}, {x, root}), r.input(1)});
  return product;
}

/// softmax(scale · Q · Kᵀ + mask) · V of [images, heads, tokens, features], as many heads for each.
Op read_attention(NodeReader& r) {
  const std::optional<Shape> q = r.shape(0), k = r.shape(1), v = r.shape(2), mask = r.shape(3);
  const auto has_four = [](const std::optional<Shape>& shape) { return shape && shape->size() == 4; };
  if (!has_four(q) || !has_four(k) || !has_four(v)) r.refuse("inputs without four dimensions");
  const bool heads = has_four(q) && has_four(k) && (*q)[1] >= 0 && (*q)[1] == (*k)[1];
  if (!heads) r.refuse("heads that share keys");
  const int64_t features = has_four(q) ? q->back() : -1;
  const double scale = r.real("scale", features > 0 ? 1 / std::sqrt(static_cast<double>(features)) : 0);
  if (scale == 0) r.refuse("no scale, and features whose number is not known");
  if (r.integer("is_causal", 0) != 0) r.refuse("a causal mask");
  if (r.real("softcap", 0) != 0) r.refuse("softcap");
  if (r.has(4) || r.has(5) || r.has(6)) r.refuse("keys of the past");
  const bool masked = r.has(3);
  const bool fits = mask && !mask->empty() && has_four(k) && mask->back() >= 0 && mask->back() == (*k)[2];
  if (masked && (!fits || r.dtype(3) != r.dtype(0))) r.refuse("a mask that is not added to every score");
  for (const char* ignored : {"q_num_heads", "kv_num_heads", "qk_matmul_output_mode", "softmax_precision"}) {
    r.integer(ignored, 0);  // of inputs with three dimensions, of other outputs, and more digits than asked for
  }
  if (!r.refusal().empty()) return MatMul{};
  const ValueId scaled = r.step("scaled", Binary{Binary::Kind::mul}, {r.input(0), r.scalar("scale", scale)});
  const ValueId keys = r.step("keys", Transpose{{0, 1, 3, 2}}, {r.input(1)});
  ValueId scores = r.step("scores", MatMul{}, {scaled, keys});
  if (masked) scores = r.step("masked", Binary{Binary::Kind::add}, {scores, r.input(3)});
  r.read({r.step("weights", Softmax{.axis = -1}, {scores}), r.input(2)});
  return MatMul{};
}

}  // namespace reducenet
