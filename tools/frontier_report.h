#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli.h"
#include "train/frontier.h"

namespace reducenet::cli {

/// Where a frontier's results lie, and how its command begins.
struct FrontierPlace {
  std::string recipe, from;
  std::vector<std::string> settings;
  std::filesystem::path out = "frontier";

  std::filesystem::path result_of(const std::string& cell) const { return out / "cells" / (cell + ".json"); }
  /// `cells`: a pattern.
  std::string command_of(const std::string& cells) const;
};

/// Writes frontier.json and index.html from the cells that are done; returns what is in the former: {version, recipe,
/// points (seeds together, of a control the best learning rate on held-out images), cells, pending, worth}.
Json report_frontier(const std::vector<train::FrontierCell>& cells, const FrontierPlace& place);
/// Its points as a table.
std::string frontier_text(const Json& json, const FrontierPlace& place);

}  // namespace reducenet::cli
