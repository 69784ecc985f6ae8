#include "collapse/blocks.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace reducenet {
namespace {

constexpr size_t kLargestBlock = 256;  // nodes

class Finder {
 public:
  explicit Finder(const Driver& driver) : driver_(driver), graph_(driver.graph()), depth_(graph_.values.size(), 0) {
    order();
  }

  std::vector<Chain> run() {
    std::vector<ValueId> ends;
    for (const NodeId node : order_) {
      if (graph_[node].outputs.size() == 1) ends.push_back(graph_[node].outputs[0]);
    }
    std::stable_sort(ends.begin(), ends.end(), [&](ValueId a, ValueId b) { return depth(a) > depth(b); });
    std::unordered_set<int32_t> inside;  // values between blocks of a chain
    std::vector<Chain> chains;
    for (const ValueId end : ends) {
      if (inside.contains(end.index)) continue;
      Chain chain;
      for (ValueId value = end;; value = chain.back().from) {
        if (!chain.empty() && !read_only_by(value, chain.back())) break;
        auto block = block_before(value);
        if (!block) break;
        if (!chain.empty()) inside.insert(value.index);
        chain.push_back(std::move(*block));
      }
      std::reverse(chain.begin(), chain.end());
      if (!chain.empty()) chains.push_back(std::move(chain));
    }
    std::reverse(chains.begin(), chains.end());
    return chains;
  }

 private:
  int depth(ValueId value) const { return depth_[static_cast<size_t>(value.index)]; }

  /// Topological order of the living nodes, and how many nodes lie before each value at most.
  void order() {
    const size_t count = graph_.nodes.size();
    std::vector<int> waiting(count, 0);
    for (size_t i = 0; i < count; ++i) {
      const NodeId id{static_cast<int32_t>(i)};
      if (!driver_.is_alive(id)) continue;
      for (const ValueId in : graph_[id].inputs) waiting[i] += in && driver_.uses().producer_of(in);
      if (waiting[i] == 0) order_.push_back(id);
    }
    for (size_t i = 0; i < order_.size(); ++i) {
      const Node& node = graph_[order_[i]];
      int deepest = 0;
      for (const ValueId in : node.inputs) deepest = in ? std::max(deepest, depth(in)) : deepest;
      for (const ValueId out : node.outputs) {
        if (!out) continue;
        depth_[static_cast<size_t>(out.index)] = deepest + 1;
        for (const NodeId reader : driver_.uses().consumers_of(out)) {
          if (--waiting[static_cast<size_t>(reader.index)] == 0) order_.push_back(reader);
        }
      }
    }
  }

  bool read_only_by(ValueId value, const LinearBlock& block) const {
    if (driver_.uses().is_output[static_cast<size_t>(value.index)]) return false;
    const auto& readers = driver_.uses().consumers_of(value);
    return std::all_of(readers.begin(), readers.end(), [&](NodeId reader) {
      return std::find(block.nodes.begin(), block.nodes.end(), reader) != block.nodes.end();
    });
  }

  bool joins(NodeId node) const { return node && graph_[node].outputs.size() == 1 && is_linear(graph_, graph_[node]); }

  /// Walks back from `to`, latest values first, until all paths have met in one value.
  std::optional<LinearBlock> block_before(ValueId to) const {
    const auto later = [&](ValueId a, ValueId b) { return std::pair(depth(a), a) > std::pair(depth(b), b); };
    std::set<ValueId, decltype(later)> open(later);
    LinearBlock block{{}, to, {}};
    const auto take = [&](NodeId node) {
      block.nodes.push_back(node);
      for (const ValueId in : graph_[node].inputs) {
        if (in && !graph_.constant(in)) open.insert(in);
      }
    };
    if (!joins(driver_.uses().producer_of(to))) return std::nullopt;
    take(driver_.uses().producer_of(to));
    while (open.size() > 1) {
      const ValueId value = *open.begin();
      const NodeId producer = driver_.uses().producer_of(value);
      if (!joins(producer) || !read_only_by(value, block) || block.nodes.size() >= kLargestBlock) return std::nullopt;
      open.erase(open.begin());
      take(producer);
    }
    if (open.empty()) return std::nullopt;
    block.from = *open.begin();
    std::reverse(block.nodes.begin(), block.nodes.end());
    return block;
  }

  const Driver& driver_;
  const Graph& graph_;
  std::vector<int> depth_;  // by value index
  std::vector<NodeId> order_;
};

}  // namespace

std::vector<Chain> find_chains(const Driver& driver) {
  return Finder(driver).run();
}

Graph cut_out(const Graph& graph, std::span<const LinearBlock> blocks) {
  Graph part{.name = "region", .opset = graph.opset};
  std::unordered_map<int32_t, ValueId> copied;
  const auto copy = [&](ValueId id) {
    if (!id) return id;
    const auto [found, fresh] = copied.try_emplace(id.index);
    if (fresh) {
      Value value = graph[id];
      if (is_float(value.dtype)) value.dtype = DType::f64;
      if (value.constant && is_float(value.constant->dtype())) value.constant = value.constant->cast(DType::f64);
      found->second = part.add_value(std::move(value));
    }
    return found->second;
  };
  part.inputs = {copy(blocks.front().from)};
  for (const LinearBlock& block : blocks) {
    for (const NodeId id : block.nodes) {
      Node node = graph[id];
      for (ValueId& value : node.inputs) value = copy(value);
      for (ValueId& value : node.outputs) value = copy(value);
      part.nodes.push_back(std::move(node));
    }
  }
  part.outputs = {copy(blocks.back().to)};
  return part;
}

}  // namespace reducenet
