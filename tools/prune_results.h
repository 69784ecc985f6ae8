#pragma once

#include <string>
#include <vector>

#include "cli.h"

namespace reducenet::cli {

/// Stages of a sub-network, each with an accuracy of its own.
struct PruneStage {
  const char *key, *label;
};
inline constexpr PruneStage kPruneStages[] = {
    {"top1_cut", "cut"}, {"top1_bn", "statistics"}, {"top1_finetuned", "fine-tuned"}};

/// The best accuracy of a list of sub-networks at that stage; −1 when none got there.
double best_of(const Json& points, const char* stage);

/// A criterion's sub-networks: times, and at each stage first, mean, min, max and the share within `within` of the best
/// of all criteria.
Json summary_of(const std::vector<Json>& points, const std::string& criterion, double within);

/// What `prune --sample` found, {settings, within, held_out_images, whole, criteria, best, points, out}, as text, and
/// as index.html in its folder.
std::string prune_text(const Json& json);
void write_prune_page(const Json& json);

}  // namespace reducenet::cli
