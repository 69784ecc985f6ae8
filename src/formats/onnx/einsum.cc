#include <algorithm>
#include <map>
#include <string>

#include "formats/onnx/table.h"

// Einsum of one operand is a sum and a Transpose; of two, a MatMul of operands that are brought into its form.

namespace reducenet {
namespace {

bool has(const std::string& labels, char label) {
  return labels.find(label) != std::string::npos;
}

/// Where in `labels` each label of `order`, which it has, stands.
std::vector<int64_t> places(const std::string& labels, const std::string& order) {
  std::vector<int64_t> found;
  for (const char label : order) found.push_back(static_cast<int64_t>(labels.find(label)));
  return found;
}

bool in_order(const std::vector<int64_t>& perm) {
  return std::ranges::is_sorted(perm);
}

/// Each label of an operand and of the output once, and none in the output alone.
class Einsum {
 public:
  explicit Einsum(NodeReader& r) : r_(r) { parse(); }

  Op read() {
    if (!r_.refusal().empty()) return Identity{};
    return operands_.size() == 1 ? of_one() : of_two();
  }

 private:
  void parse() {
    std::string equation = r_.text("equation", "");
    std::erase(equation, ' ');
    const size_t arrow = equation.find("->");
    if (arrow == std::string::npos) return r_.refuse("an equation without its output");
    out_ = equation.substr(arrow + 2);
    std::string left = equation.substr(0, arrow);
    for (size_t comma; (comma = left.find(',')) != std::string::npos; left.erase(0, comma + 1)) {
      operands_.push_back(left.substr(0, comma));
    }
    operands_.push_back(left);
    if (operands_.size() != r_.inputs().size() || operands_.size() > 2) return r_.refuse("more than two operands");
    for (size_t i = 0; i < operands_.size(); ++i) learn_sizes(i);
    check_labels(out_);
    for (const char label : out_) {
      if (!sizes_.contains(label)) r_.refuse("an output that no operand has");
    }
  }

  void check_labels(const std::string& labels) {
    for (const char label : labels) {
      const bool letter = (label >= 'a' && label <= 'z') || (label >= 'A' && label <= 'Z');
      if (!letter || std::ranges::count(labels, label) != 1) r_.refuse("an ellipsis or a diagonal");
    }
  }

  void learn_sizes(size_t i) {
    const std::optional<Shape> shape = r_.shape(i);
    check_labels(operands_[i]);
    if (!shape || shape->size() != operands_[i].size()) return r_.refuse("an operand whose axes are not known");
    for (size_t axis = 0; axis < shape->size(); ++axis) {
      const auto [known, is_new] = sizes_.emplace(operands_[i][axis], (*shape)[axis]);
      if (!is_new && known->second != (*shape)[axis]) r_.refuse("sizes that differ or are not known");
    }
  }

  Op of_one() {
    const std::string& labels = operands_[0];
    std::string kept;
    Reduce sum{.kind = Reduce::Kind::sum, .keep_dims = false};
    for (size_t axis = 0; axis < labels.size(); ++axis) {
      if (has(out_, labels[axis])) {
        kept += labels[axis];
      } else {
        sum.axes.push_back(static_cast<int64_t>(axis));
      }
    }
    const std::vector<int64_t> perm = places(kept, out_);
    if (sum.axes.empty()) return in_order(perm) ? Op(Identity{}) : Op(Transpose{perm});
    if (in_order(perm)) return sum;
    r_.read({r_.step("sum", sum, r_.inputs())});
    return Transpose{perm};
  }

  Shape sizes_of(const std::string& labels) const {
    Shape sizes;
    for (const char label : labels) sizes.push_back(sizes_.at(label));
    return sizes;
  }

  ValueId reshaped(ValueId x, const std::string& stem, const Shape& to) {
    return r_.step(stem, Reshape{}, {x, r_.constant(stem + ".shape", Tensor::of({std::ssize(to)}, to))});
  }

  /// The operand as [shared…, rows, columns], each of the last two any number of labels.
  ValueId matrix(size_t i, const std::string& shared, const std::string& rows, const std::string& columns) {
    const std::string stem = i == 0 ? "left" : "right";
    ValueId x = r_.input(i);
    const std::vector<int64_t> perm = places(operands_[i], shared + rows + columns);
    if (!in_order(perm)) x = r_.step(stem, Transpose{perm}, {x});
    if (!joins_ || (rows.size() == 1 && columns.size() == 1)) return x;
    Shape to = sizes_of(shared);
    to.insert(to.end(), {element_count(sizes_of(rows)), element_count(sizes_of(columns))});
    return reshaped(x, stem + ".matrix", to);
  }

  Op of_two() {
    std::string shared, summed, rows, columns;
    for (const char label : operands_[0]) {
      const bool both = has(operands_[1], label), stays = has(out_, label);
      if (!both && !stays) r_.refuse("a sum over one operand alone");
      (both ? stays ? shared : summed : rows) += label;
    }
    for (const char label : operands_[1]) {
      if (has(operands_[0], label)) continue;
      if (!has(out_, label)) r_.refuse("a sum over one operand alone");
      columns += label;
    }
    const bool one_each = summed.size() == 1 && columns.size() == 1;
    joins_ = !one_each || (rows.size() != 1 && (rows.empty() || !shared.empty()));  // else a matrix for all rows
    const bool known = std::ranges::none_of(sizes_, [](const auto& entry) { return entry.second < 0; });
    if (joins_ && !known) r_.refuse("sizes that are not known");
    if (!r_.refusal().empty()) return Identity{};
    const ValueId left = matrix(0, shared, rows, summed), right = matrix(1, shared, summed, columns);
    const std::vector<int64_t> perm = places(shared + rows + columns, out_);
    if (!joins_ && in_order(perm)) {
      r_.read({left, right});
      return MatMul{};
    }
    ValueId product = r_.step("product", MatMul{}, {left, right});
    if (joins_) product = reshaped(product, "apart", sizes_of(shared + rows + columns));
    r_.read({product});
    return Transpose{perm};
  }

  NodeReader& r_;
  std::vector<std::string> operands_;
  std::string out_;
  std::map<char, int64_t> sizes_;
  bool joins_ = false;  ///< several labels become one axis, or none does
};

}  // namespace

Op read_einsum(NodeReader& r) {
  return Einsum(r).read();
}

}  // namespace reducenet
