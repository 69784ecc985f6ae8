#include "reducenet/collapse.h"

namespace reducenet {

ValueId Patch::constant(std::string_view stem, Tensor value) {
  values_.push_back(Value::of(std::string(stem), std::move(value)));
  return {static_cast<int32_t>(graph_->values.size() + values_.size() - 1)};
}

ValueId Patch::node(std::string_view stem, Op op, std::vector<ValueId> inputs) {
  values_.push_back({.name = std::string(stem)});
  const ValueId result{static_cast<int32_t>(graph_->values.size() + values_.size() - 1)};
  nodes_.push_back({.name = std::string(stem), .op = std::move(op), .inputs = std::move(inputs), .outputs = {result}});
  return result;
}

void Patch::replace(ValueId before, ValueId after) {
  replacements_.emplace_back(before, after);
}

}  // namespace reducenet
