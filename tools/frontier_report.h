#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli.h"
#include "experiment.h"
#include "train/frontier.h"

namespace reducenet::cli {

/// Where a frontier's results lie, and how its command begins.
struct FrontierPlace {
  std::string recipe, from;
  std::vector<std::string> settings;
  std::filesystem::path out = "frontier";

  std::filesystem::path result_of(const std::string& cell) const { return result_file(out, cell); }
  /// `cells`: a pattern.
  std::string command_of(const std::string& cells) const;
};

/// By cell: what is on disk.
using FrontierResults = std::map<std::string, Json>;
FrontierResults read_results(const std::vector<train::FrontierCell>& cells, const FrontierPlace& place);
/// Why, by name: the cells that failed, and those without a result that need one of them.
std::map<std::string, std::string> failures(const std::vector<train::FrontierCell>& cells,
                                            const FrontierResults& results);
/// Writes frontier.json and index.html from the cells that are done; returns what is in the former: {version, recipe,
/// points (seeds together, of a control the best learning rate on held-out images; `front`: by which costs no other is
/// as cheap and as accurate), cells, failed (name and why), pending, worth}.
Json report_frontier(const std::vector<train::FrontierCell>& cells, const FrontierPlace& place);
/// Its points as a table.
std::string frontier_text(const Json& json, const FrontierPlace& place);

}  // namespace reducenet::cli
