#include "explain.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <set>

namespace reducenet::cli {
namespace {

std::string merged(const Collapsed& collapsed, const Region& region, const std::set<std::string>& rules,
                   const RegionCheck* check) {
  std::vector<std::string> made;
  for (const std::string& name : region.after) {
    const NodeId id = collapsed.graph.find_node(name);
    made.push_back(id ? fmt::format("{} ({})", name, describe(collapsed.graph[id].op)) : name);
  }
  if (made.empty()) return fmt::format("removed by {}", fmt::join(rules, ", "));
  std::string text = fmt::format("into {} by {}", fmt::join(made, ", "), fmt::join(rules, ", "));
  if (check) text += fmt::format("; error {:.1e}, bound {:.1e}", check->max_abs_error, check->bound);
  return text;
}

}  // namespace

std::vector<Explanation> explain(const Graph& before, const Collapsed& collapsed, const Certificate& certificate) {
  std::map<std::string, const RegionCheck*> checks;  // by the value that a region makes
  for (const RegionCheck& check : certificate.regions) checks[check.name] = &check;
  std::map<std::string, std::set<std::string>> rules_at;  // by node
  for (const Step& step : collapsed.steps) rules_at[step.node].insert(step.rule);
  std::map<std::string, std::string> refused;
  for (const Refusal& refusal : collapsed.refused) {
    refused.try_emplace(refusal.node, fmt::format("{}: {}", refusal.rule, refusal.why));
  }
  std::map<std::string, const Region*> region_of;
  for (const Region& region : collapsed.regions) {
    for (const std::string& name : region.before) region_of[name] = &region;
  }
  std::vector<Explanation> lines;
  for (const Node& node : before.nodes) {
    std::string fate;
    if (const auto found = region_of.find(node.name); found != region_of.end()) {
      std::set<std::string> rules = rules_at[node.name];
      if (rules.empty()) {
        for (const std::string& name : found->second->before)
          rules.insert(rules_at[name].begin(), rules_at[name].end());
      }
      fate = merged(collapsed, *found->second, rules, checks[found->second->output]);
    } else if (const auto why = refused.find(node.name); why != refused.end()) {
      fate = "kept, " + why->second;
    } else if (!collapsed.graph.find_node(node.name)) {
      fate = fmt::format("removed by {}",
                         rules_at[node.name].empty() ? "settle" : fmt::to_string(fmt::join(rules_at[node.name], ", ")));
    } else {
      const auto* opaque = std::get_if<Opaque>(&node.op);
      fate = is_linear(before, node) ? "kept, nothing to merge it with" : "kept, not linear";
      if (opaque && !opaque->why.empty()) fate = "kept, not understood: " + opaque->why;
    }
    lines.push_back({node.name, describe(node.op), std::move(fate)});
  }
  return lines;
}

}  // namespace reducenet::cli
