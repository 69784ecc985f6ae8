#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cli.h"
#include "reducenet/collapse.h"
#include "reducenet/train.h"
#include "reducenet/verify.h"

namespace reducenet::cli {

/// One network of the demo.
struct Contestant {
  const char *name, *arch, *role;
  Target target;
};

/// A model as measured by the runtime.
struct Measured {
  Graph graph;
  double top1 = 0, median_ms = 0;
};

/// What became of a contestant.
struct Entry {
  Contestant contestant;
  std::filesystem::path folder;
  Graph untrained;  ///< with its fades
  Measured before, after;
  Certificate certificate;
  train::Result training;
  std::vector<std::pair<double, double>> fade;  ///< (epochs, mean λ); empty without fades
};

struct DemoFacts {
  std::string data, command;
  int64_t epochs = 0, test_images = 0;
  double estimated_s = 0, seconds = 0;
};

/// Convolutions and matrix products.
int64_t count_layers(const Graph& graph);
std::string demo_text(const std::vector<Entry>& entries, const DemoFacts& facts);
Json demo_json(const std::vector<Entry>& entries, const DemoFacts& facts);
std::string demo_html(const std::vector<Entry>& entries, const DemoFacts& facts);

}  // namespace reducenet::cli
