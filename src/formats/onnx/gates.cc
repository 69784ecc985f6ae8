#include "formats/onnx/gates.h"

#include <algorithm>
#include <map>
#include <set>

#include "formats/onnx/onnx.h"
#include "formats/onnx/subgraph.h"
#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"

namespace reducenet {
namespace {

onnx::NodeProto node(const char* type, const std::string& name, const std::string& input, const std::string& output) {
  onnx::NodeProto made;
  made.set_op_type(type);
  made.set_name(name);
  made.add_input(input);
  made.add_output(output);
  return made;
}

void add_branch(onnx::NodeProto& to, const char* name, onnx::GraphProto& branch) {
  auto& attribute = *to.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::GRAPH);
  attribute.mutable_g()->Swap(&branch);
}

void declare_output(onnx::GraphProto& branch, const std::string& name, DType dtype) {
  auto& output = *branch.add_output();
  output.set_name(name);
  output.mutable_type()->mutable_tensor_type()->set_elem_type(onnx_type_of(dtype));
}

const onnx::GraphProto* branch_of(const onnx::NodeProto& node, const char* name) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == name && attribute.has_g()) return &attribute.g();
  }
  return nullptr;
}

/// Its one output has the name.
bool makes(const onnx::NodeProto& node, const std::string& name) {
  return node.output_size() == 1 && node.output(0) == name;
}

bool is(const onnx::NodeProto& node, const char* type, int inputs) {
  return node.op_type() == type && node.domain().empty() && node.input_size() == inputs;
}

bool reads(const onnx::NodeProto& node, const std::string& name) {
  return std::ranges::find(node.input(), name) != node.input().end();
}

/// The model's nodes by what they make.
using Makers = std::map<std::string, const onnx::NodeProto*>;

const onnx::NodeProto* maker(const Makers& makers, const std::string& name) {
  const auto found = makers.find(name);
  return found == makers.end() ? nullptr : found->second;
}

/// Add(shortcut, Mul(block, gate)) and Identity(shortcut) under the condition bool(max gate): the then-branch, or
/// nullptr.
const onnx::GraphProto* gated_block(const onnx::NodeProto& node, const Makers& makers,
                                    std::set<const onnx::NodeProto*>& condition) {
  if (!is(node, "If", 1) || node.output_size() != 1) return nullptr;
  const onnx::NodeProto* const open = maker(makers, node.input(0));
  const onnx::NodeProto* const most = open && is(*open, "Cast", 1) ? maker(makers, open->input(0)) : nullptr;
  const onnx::GraphProto *const then = branch_of(node, "then_branch"), *const otherwise =
                                                                           branch_of(node, "else_branch");
  if (!most || !is(*most, "ReduceMax", 1) || !then || !otherwise) return nullptr;
  if (then->node_size() < 2 || then->output_size() != 1 || then->initializer_size() > 0 ||
      then->sparse_initializer_size() > 0 || otherwise->node_size() != 1 || otherwise->output_size() != 1) {
    return nullptr;
  }
  const onnx::NodeProto &sum = then->node(then->node_size() - 1), &product = then->node(then->node_size() - 2),
                        &kept = otherwise->node(0);
  const bool fits = is(sum, "Add", 2) && makes(sum, then->output(0).name()) && is(kept, "Identity", 1) &&
                    makes(kept, otherwise->output(0).name()) && reads(sum, kept.input(0)) && is(product, "Mul", 2) &&
                    product.output_size() == 1 && reads(sum, product.output(0)) && product.output(0) != kept.input(0) &&
                    reads(product, most->input(0));
  if (!fits) return nullptr;
  condition.insert({open, most});
  return then;
}

}  // namespace

std::vector<GatedBranch> gated_branches(const Graph& graph) {
  const auto written = graph.metadata.find(kGatesKey);
  const bool came_otherwise =
      graph.metadata.contains(kRemainderKey) && (written == graph.metadata.end() || written->second != "if");
  std::vector<GatedBranch> found;
  if (came_otherwise) return found;
  const Uses uses(graph);
  for (const GatedBlock& block : gated_blocks(graph)) {
    const auto &shape = graph[graph[block.sum].outputs[0]].shape, &before = graph[block.shortcut].shape;
    const bool plain =
        std::holds_alternative<Binary>(graph[block.sum].op) && uses.has_single_use(graph[block.product].outputs[0]);
    if (!plain || !shape || shape != before) continue;
    std::vector<NodeId> members = nodes_behind(graph, uses, block);
    const auto can_write = [&](NodeId id) {
      const OnnxOp* const row = find_onnx_op(name_of(graph[id].op));
      return row && row->write;
    };
    if (members.size() > 1 && std::ranges::all_of(members, can_write)) found.push_back({block, std::move(members), {}});
  }
  return found;
}

std::vector<onnx::NodeProto> write_if(const Graph& graph, GatedBranch& branch, std::unordered_set<std::string>& names) {
  const Node& sum = graph[branch.block.sum];
  const std::string output = graph[sum.outputs[0]].name;
  const DType dtype = graph[sum.outputs[0]].dtype;
  const auto fresh = [&](const std::string& stem) { return fresh_name(names, stem); };
  const std::string most = fresh(sum.name + ".most"), open = fresh(sum.name + ".open"), gated = fresh(sum.name + ".if");
  const std::string then = fresh(output + ".then"), otherwise = fresh(output + ".else");

  onnx::GraphProto skipped;
  skipped.set_name(otherwise);
  *skipped.add_node() = node("Identity", otherwise, graph[branch.block.shortcut].name, otherwise);
  declare_output(skipped, otherwise, dtype);
  branch.written.set_name(then);
  branch.written.mutable_node()->rbegin()->set_output(0, then);
  declare_output(branch.written, then, dtype);

  std::vector<onnx::NodeProto> made{node("ReduceMax", most, graph[branch.block.gate].name, most),
                                    node("Cast", open, most, open), node("If", gated, open, output)};
  set(made[0], "keepdims", int64_t{0});
  set(made[1], "to", int64_t{onnx_type_of(DType::boolean)});
  add_branch(made[2], "then_branch", branch.written);
  add_branch(made[2], "else_branch", skipped);
  return made;
}

void inline_gates(onnx::ModelProto& model) {
  const auto& metadata = model.metadata_props();
  const bool ours = std::ranges::any_of(
      metadata, [](const auto& entry) { return entry.key() == kGatesKey && entry.value() == "if"; });
  if (!ours) return;
  onnx::GraphProto& graph = *model.mutable_graph();
  Makers makers;
  for (const auto& node : graph.node()) {
    for (const std::string& output : node.output()) makers[output] = &node;
  }
  std::set<const onnx::NodeProto*> conditions;
  std::map<const onnx::NodeProto*, const onnx::GraphProto*> blocks;
  for (const auto& node : graph.node()) {
    if (node.op_type() != "If") continue;
    const auto* const block = gated_block(node, makers, conditions);
    if (block == nullptr) return;
    blocks[&node] = block;
  }
  // A condition that anything else reads stays; readers stand behind what they read.
  for (const auto& output : graph.output()) conditions.erase(maker(makers, output.name()));
  for (int i = graph.node_size(); i-- > 0;) {
    const onnx::NodeProto& node = graph.node(i);
    if (conditions.contains(&node)) continue;
    for (const std::string& name : captured_names(node)) conditions.erase(maker(makers, name));
    if (blocks.contains(&node)) continue;
    for (const std::string& input : node.input()) conditions.erase(maker(makers, input));
  }
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  for (const auto& node : graph.node()) {
    if (conditions.contains(&node)) continue;
    const auto block = blocks.find(&node);
    if (block == blocks.end()) {
      *nodes.Add() = node;
      continue;
    }
    nodes.MergeFrom(block->second->node());
    nodes.rbegin()->set_output(0, node.output(0));
  }
  graph.mutable_node()->Swap(&nodes);
}

}  // namespace reducenet
