#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "reducenet/train.h"

namespace reducenet::train {

struct Selection;

/// metrics.jsonl: one JSON object an epoch, then one with "final": true. Unmeasured figures are null.
class MetricsFile {
 public:
  /// Keeps the first `epochs` lines of an existing file (those a resumed run has behind it); drops the rest.
  MetricsFile(std::filesystem::path path, int64_t epochs);
  /// The epochs that were kept or added.
  const std::vector<EpochMetrics>& history() const { return history_; }
  void add(const EpochMetrics& metrics);
  void finish(const Result& result);

 private:
  void append(const std::string& line);
  std::filesystem::path path_;
  std::vector<EpochMetrics> history_;
};

/// survivors.json: which of the candidates, by name, survive, and what each is worth; unranked: null.
void write_selection(const std::filesystem::path& path, const Recipe::Select& recipe,
                     const std::vector<std::string>& candidates, const Selection& selection);

/// result.json: recipe, seed, figures and machine.
void write_result(const std::filesystem::path& path, const Recipe& recipe, const Result& result);

/// Where another run began, before a new one does: its records go to the folder's `before-1` (or the next number that
/// is free), and of its networks copies, since the new run may start or learn from them. Empty: none was there.
std::filesystem::path keep_former_run(const std::filesystem::path& folder);

}  // namespace reducenet::train
