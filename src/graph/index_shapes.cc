#include "graph/index_shapes.h"

#include <algorithm>
#include <cmath>

#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 40;  // of what an op makes out of numbers alone

void require(bool holds, const std::string& what) {
  if (!holds) throw Error(ErrorKind::bad_input, what);
}

bool known(int64_t dim) {
  return dim >= 0;
}

int64_t saturated(double value) {
  constexpr double limit = 9.2e18;
  if (std::isnan(value)) return kUnknown;
  if (value >= limit) return std::numeric_limits<int64_t>::max();
  return value <= -limit ? kUnknown + 1 : static_cast<int64_t>(value);
}

Shape checked(Shape shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    require(dim < 0 || !__builtin_mul_overflow(count, std::max<int64_t>(dim, 1), &count), "the output is too large");
    require(count <= kMostElements, "the output has an absurd shape, " + to_string(shape));
  }
  return shape;
}

}  // namespace

std::optional<std::vector<int64_t>> OpInputs::integers(size_t i, const std::vector<int64_t>& otherwise) const {
  if (i >= shapes.size()) return otherwise;
  if (values[i]) {
    std::vector<int64_t> integers;
    if (!is_float(values[i]->dtype())) {
      integers = values[i]->to_ints();
      for (int64_t& value : integers) value = std::max(value, kUnknown + 1);
      return integers;
    }
    for (const double value : values[i]->to_doubles()) integers.push_back(saturated(value));
    return integers;
  }
  return has(i) ? std::nullopt : std::optional(otherwise);
}

int64_t normalised_axis(int64_t axis, size_t rank, bool end_allowed) {
  const auto count = static_cast<int64_t>(rank);
  const int64_t positive = axis < 0 ? axis + count : axis;
  require(positive >= 0 && positive < count + end_allowed,
          "axis " + std::to_string(axis) + " is outside a tensor of rank " + std::to_string(rank));
  return positive;
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

// Bounds count from the end when negative, and are clipped: to [0, size], or for a negative step the first to
// [0, size − 1] and the last to [−1, size − 1].
std::optional<std::vector<SliceAxis>> slices(const Slice& op, const OpInputs& in) {
  const Shape& x = in.shape();
  std::vector<SliceAxis> result(x.size());
  for (size_t i = 0; i < x.size(); ++i) result[i].count = x[i];
  const auto starts = in.integers(1, op.starts), ends = in.integers(2, op.ends);
  std::optional<std::vector<int64_t>> axes = in.integers(3, op.axes), steps = in.integers(4, op.steps);
  if (!axes || !steps || !starts) {  // what is cut is not known
    for (SliceAxis& axis : result) axis.count = -1;
    if (!axes) return result;
  }
  const size_t count = starts ? starts->size() : axes->size();
  for (size_t i = axes->size(); i < count && axes->size() < count; ++i) axes->push_back(static_cast<int64_t>(i));
  require(
      axes->size() == count && (!ends || ends->size() == count) && (!steps || steps->empty() || steps->size() == count),
      "starts, ends, axes and steps have different lengths");
  for (size_t k = 0; k < count; ++k) {
    SliceAxis& axis = result[static_cast<size_t>(normalised_axis((*axes)[k], x.size()))];
    const int64_t size = x[static_cast<size_t>(normalised_axis((*axes)[k], x.size()))];
    const int64_t step = !steps ? kUnknown : steps->empty() ? 1 : (*steps)[k];
    axis.count = -1;
    require(step != 0, "a step of 0");
    if (!starts || !ends || step == kUnknown || !known(size)) continue;
    int64_t start = (*starts)[k], end = (*ends)[k];
    if (start == kUnknown || end == kUnknown) continue;
    if (start < 0) start = start < -size ? -1 : start + size;  // −1: before the first
    if (end < 0) end = end < -size ? -1 : end + size;
    start = std::clamp<int64_t>(start, 0, std::max<int64_t>(step > 0 ? size : size - 1, 0));
    end = step > 0 ? std::clamp<int64_t>(end, 0, size) : std::clamp<int64_t>(end, -1, size - 1);
    if (size == 0) end = start;
    const int64_t span = step > 0 ? end - start : start - end;
    const int64_t stride = step == std::numeric_limits<int64_t>::min() ? size + 1 : std::abs(step);
    axis = {start, step, span <= 0 ? 0 : (span - 1) / stride + 1};
  }
  return result;
}

MaybeShape shape_of(const Slice& op, const OpInputs& in) {
  const auto axes = slices(op, in);
  if (!axes) return std::nullopt;
  Shape out;
  for (const SliceAxis& axis : *axes) out.push_back(axis.count);
  return out;
}

std::optional<std::vector<bool>> reduced_axes(const Reduce& op, const OpInputs& in) {
  const size_t rank = in.shape().size();
  const auto axes = in.integers(1, op.axes);
  if (!axes) return std::nullopt;
  if (axes->empty()) return std::vector<bool>(rank, !op.none_is_identity);
  std::vector<bool> reduced(rank);
  for (const int64_t axis : *axes) {
    if (axis == kUnknown) return std::nullopt;
    reduced[static_cast<size_t>(normalised_axis(axis, rank))] = true;
  }
  return reduced;
}

MaybeShape shape_of(const Reduce& op, const OpInputs& in) {
  const auto reduced = reduced_axes(op, in);
  if (!reduced) return op.keep_dims ? MaybeShape(Shape(in.shape().size(), -1)) : std::nullopt;
  Shape out;
  for (size_t i = 0; i < reduced->size(); ++i) {
    if (!(*reduced)[i]) {
      out.push_back(in.shape()[i]);
    } else if (op.keep_dims) {
      out.push_back(1);
    }
  }
  return out;
}

MaybeShape shape_of(const ArgReduce& op, const OpInputs& in) {
  Shape out = in.shape();
  const int64_t axis = normalised_axis(op.axis, out.size());
  if (op.keep_dims) {
    out[static_cast<size_t>(axis)] = 1;
  } else {
    out.erase(out.begin() + axis);
  }
  return out;
}

MaybeShape shape_of(const TopK& op, const OpInputs& in) {
  Shape out = in.shape();
  int64_t& dim = out[static_cast<size_t>(normalised_axis(op.axis, out.size()))];
  const auto k = in.integers(1);
  const bool given = k && k->size() == 1 && k->front() != kUnknown;
  if (given) require(k->front() >= 0 && (!known(dim) || k->front() <= dim), "k exceeds the axis");
  dim = given ? k->front() : -1;
  return out;
}

MaybeShape shape_of(const Gather& op, const OpInputs& in) {
  const Shape &x = in.shape(0), &indices = in.shape(1);
  const int64_t axis = normalised_axis(op.axis, x.size());
  Shape out(x.begin(), x.begin() + axis);
  out.insert(out.end(), indices.begin(), indices.end());
  out.insert(out.end(), x.begin() + axis + 1, x.end());
  return checked(out);
}

MaybeShape shape_of(const ScatterNd&, const OpInputs& in) {
  const Shape &x = in.shape(0), &indices = in.shape(1), &updates = in.shape(2);
  require(!indices.empty(), "its indices are a scalar");
  const int64_t depth = indices.back();
  if (!known(depth)) return x;
  require(depth <= static_cast<int64_t>(x.size()), "an index has more dimensions than " + to_string(x));
  Shape wanted(indices.begin(), indices.end() - 1);
  wanted.insert(wanted.end(), x.begin() + depth, x.end());
  const auto agree = [](int64_t a, int64_t b) { return !known(a) || !known(b) || a == b; };
  require(std::ranges::equal(wanted, updates, agree),
          "updates are " + to_string(updates) + ", not " + to_string(wanted));
  return x;
}

MaybeShape shape_of(const Squeeze& op, const OpInputs& in) {
  const Shape& x = in.shape();
  const auto axes = in.integers(1, op.axes);
  if (!axes) return std::nullopt;
  const size_t rank = x.size() + (op.insert ? axes->size() : 0);
  std::vector<bool> chosen(rank);
  for (const int64_t axis : *axes) {
    auto at = chosen.begin() + normalised_axis(axis, rank);
    require(!*at, "axis " + std::to_string(axis) + " is given twice");
    *at = true;
  }
  Shape out;
  if (op.insert) {
    size_t next = 0;
    for (size_t i = 0; i < rank; ++i) out.push_back(chosen[i] ? 1 : x[next++]);
    return out;
  }
  for (size_t i = 0; i < rank; ++i) {
    if (axes->empty() && !known(x[i])) return std::nullopt;
    const bool removed = axes->empty() ? x[i] == 1 : chosen[i];
    require(!removed || !known(x[i]) || x[i] == 1, "axis " + std::to_string(i) + " of " + to_string(x) + " is not 1");
    if (!removed) out.push_back(x[i]);
  }
  return out;
}

MaybeShape shape_of(const Repeat& op, const OpInputs& in) {
  const Shape& x = in.shape();
  const auto list = in.integers(1);
  if (op.kind == Repeat::Kind::expand) {
    if (!list) return std::nullopt;
    Shape target = *list;
    for (int64_t& dim : target) {
      require(dim >= 0 || dim == kUnknown, "the shape has a negative dimension");
      dim = std::max<int64_t>(dim, -1);
    }
    return checked(broadcast(x, target));
  }
  Shape out = x;
  if (list) require(list->size() == x.size(), "the repeats do not match the rank of " + to_string(x));
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t times = list ? (*list)[i] : kUnknown;
    require(times >= 0 || times == kUnknown, "a negative number of repeats");
    require(!known(times) || times <= kMostElements, "an absurd number of repeats");
    out[i] = known(times) && known(x[i]) ? std::min(x[i], kMostElements) * std::min<int64_t>(times, 1 << 20) : -1;
  }
  return checked(out);
}

MaybeShape shape_of(const SpaceDepth& op, const OpInputs& in) {
  const Shape& x = in.shape();
  require(x.size() == 4, "expected an image batch [N, C, H, W], found " + to_string(x));
  require(op.block > 0 && op.block < (1 << 15), "the block must be positive");
  const int64_t area = op.block * op.block;
  const auto divided = [&](int64_t dim, int64_t by) {
    require(!known(dim) || dim % by == 0, to_string(x) + " does not divide into blocks");
    return known(dim) ? dim / by : -1;
  };
  const auto times = [](int64_t dim, int64_t by) { return known(dim) ? dim * by : -1; };
  if (op.kind == SpaceDepth::Kind::space_to_depth) {
    return Shape{x[0], times(x[1], area), divided(x[2], op.block), divided(x[3], op.block)};
  }
  return Shape{x[0], divided(x[1], area), times(x[2], op.block), times(x[3], op.block)};
}

MaybeShape shape_of(const Resize&, const OpInputs& in) {
  const Shape& x = in.shape();
  Shape out(x.size(), -1);
  const auto sizes = in.integers(3);
  if (in.has(3) && (!sizes || !sizes->empty())) {
    if (!sizes) return out;
    require(sizes->size() == x.size(), "sizes do not match the rank of " + to_string(x));
    for (size_t i = 0; i < x.size(); ++i) {
      require((*sizes)[i] > 0 || (*sizes)[i] == kUnknown, "sizes must be positive");
      out[i] = std::max<int64_t>((*sizes)[i], -1);
    }
    return checked(out);
  }
  if (!in.has(2) || !in.values[2]) return out;
  const std::vector<double> scales = in.values[2]->to_doubles();
  require(scales.size() == x.size(), "scales do not match the rank of " + to_string(x));
  for (size_t i = 0; i < x.size(); ++i) {
    require(!(scales[i] <= 0), "scales must be positive");
    if (!known(x[i]) || std::isnan(scales[i])) continue;
    const double size = std::floor(static_cast<double>(x[i]) * scales[i]);
    require(size <= static_cast<double>(kMostElements), "an absurd scale");
    out[i] = static_cast<int64_t>(size);
  }
  return checked(out);
}

namespace {
/// The part of a tensor's shape that a ShapeOf gives.
std::pair<int64_t, int64_t> shape_range(const ShapeOf& op, size_t rank) {
  const auto count = static_cast<int64_t>(rank);
  const auto clipped = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + count : i, 0, count); };
  return {clipped(op.start), std::max(clipped(op.start), clipped(op.end))};
}
}  // namespace

Tensor numbers_of(const ShapeOf& op, const Shape& shape) {
  if (op.size) {
    const bool all_known = std::ranges::all_of(shape, known);
    return Tensor::of({}, std::vector<int64_t>{all_known ? element_count(shape) : -1});
  }
  const auto [first, last] = shape_range(op, shape.size());
  return Tensor::of({last - first}, std::vector<int64_t>(shape.begin() + first, shape.begin() + last));
}

MaybeShape shape_of(const ShapeOf& op, const OpInputs& in) {
  return numbers_of(op, in.shape()).shape();
}

MaybeShape shape_of(const ConstantOfShape&, const OpInputs& in) {
  auto shape = in.integers(0);
  if (!shape) {
    const bool rank_known =
        in.shapes[0] && in.shapes[0]->size() == 1 && known(in.shapes[0]->front()) && in.shapes[0]->front() <= 64;
    return rank_known ? MaybeShape(Shape(static_cast<size_t>(in.shapes[0]->front()), -1)) : std::nullopt;
  }
  for (int64_t& dim : *shape) {
    require(dim >= 0 || dim == kUnknown, "the shape has a negative dimension");
    dim = std::max<int64_t>(dim, -1);
  }
  return checked(*shape);
}

MaybeShape shape_of(const Arange&, const OpInputs& in) {
  double bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (!in.values[i] || in.values[i]->size() != 1) return Shape{-1};
    bounds[i] = in.values[i]->to_doubles()[0];
    if (std::isnan(bounds[i])) return Shape{-1};
  }
  require(bounds[2] != 0, "a delta of 0");
  const double count = std::max(0.0, std::ceil((bounds[1] - bounds[0]) / bounds[2]));
  require(count <= static_cast<double>(kMostElements), "the output has an absurd size");
  return Shape{static_cast<int64_t>(count)};
}

MaybeShape shape_of(const Normalize& op, const OpInputs& in) {
  const Shape& x = in.shape();
  if (op.kind == Normalize::Kind::layer) {
    const int64_t axis = normalised_axis(op.axis, x.size());
    const Shape tail(x.begin() + axis, x.end());
    for (size_t i = 1; i < in.shapes.size(); ++i) {
      if (in.shapes[i]) {
        require(broadcast(tail, *in.shapes[i]).size() == tail.size(), "a parameter does not fit " + to_string(tail));
      }
    }
    return x;
  }
  require(x.size() >= 2, "expected [N, C, …], found " + to_string(x));
  const bool group = op.kind == Normalize::Kind::group;
  if (group && known(x[1])) require(op.groups > 0 && x[1] % op.groups == 0, "channels must divide into the groups");
  const int64_t parameters = group && op.per_group ? op.groups : x[1];
  for (size_t i = 1; i < 3; ++i) {
    if (!in.shapes[i]) continue;
    require(in.shape(i).size() == 1 && (!known(parameters) || !known(in.shape(i)[0]) || in.shape(i)[0] == parameters),
            "a parameter has shape " + to_string(in.shape(i)));
  }
  return x;
}

std::vector<MaybeShape> part_shapes(const SplitAxis& op, const OpInputs& in, size_t parts) {
  const Shape& x = in.shape();
  const auto axis = static_cast<size_t>(normalised_axis(op.axis, x.size()));
  auto sizes = in.integers(1, op.sizes);
  std::vector<MaybeShape> out(parts, x);
  if (sizes && sizes->empty()) {
    const auto count = static_cast<int64_t>(parts);
    const int64_t each = known(x[axis]) ? (x[axis] + count - 1) / count : -1;
    for (int64_t i = 0; i < count; ++i) {
      sizes->push_back(each < 0 ? kUnknown : std::clamp<int64_t>(x[axis] - i * each, 0, each));
    }
  }
  int64_t total = 0;
  for (size_t i = 0; i < parts; ++i) {
    if (sizes) require(sizes->size() == parts, "the sizes do not match the number of outputs");
    const int64_t size = sizes ? (*sizes)[i] : kUnknown;
    require(size == kUnknown || (size >= 0 && size <= kMostElements), "a part of negative or absurd size");
    (*out[i])[axis] = std::max<int64_t>(size, -1);
    total = size == kUnknown || total < 0 ? -1 : total + size;
  }
  if (total >= 0 && known(x[axis])) require(total == x[axis], "the parts do not add up to " + to_string(x));
  return out;
}

bool reads_value(const Op& op, size_t i) {
  if (i == 0) return std::holds_alternative<ConstantOfShape>(op) || std::holds_alternative<Arange>(op);
  return std::visit(
      [](const auto& one) {
        return OneOf<std::decay_t<decltype(one)>, Reshape, Slice, SplitAxis, Squeeze, Repeat, Resize, Arange, Reduce,
                     TopK>;
      },
      op);
}

}  // namespace reducenet
