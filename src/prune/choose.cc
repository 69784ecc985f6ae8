#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "reducenet/error.h"
#include "reducenet/prune.h"

namespace reducenet {
namespace {

std::string percent(double share) {
  return std::to_string(static_cast<int>(std::floor(100 * share + 0.5))) + " %";
}

/// Scores that may be compared: relative to the family's mean where the criterion's are not, NaN for what stays.
std::vector<double> comparable(const Channels& channels, const Criterion& criterion, std::vector<double> scores,
                               bool carried_too) {
  const auto families = static_cast<size_t>(channels.family_count());
  std::vector<double> sum(families), count(families);
  for (size_t unit = 0; unit < scores.size(); ++unit) {
    const int32_t family = channels.family[unit];
    if (family < 0 || (channels.carries[unit] != 0 && !carried_too)) scores[unit] = std::nan("");
    if (std::isnan(scores[unit])) continue;
    sum[static_cast<size_t>(family)] += scores[unit];
    ++count[static_cast<size_t>(family)];
  }
  for (size_t unit = 0; unit < scores.size() && !criterion.across; ++unit) {
    if (std::isnan(scores[unit])) continue;
    const auto family = static_cast<size_t>(channels.family[unit]);
    if (sum[family] > 0) scores[unit] *= count[family] / sum[family];
  }
  return scores;
}

/// Units by rising score, in the order in which they go; those that stay are left out.
std::vector<size_t> order_of(const std::vector<double>& scores, std::optional<uint64_t> draw) {
  std::vector<double> key = scores;
  if (draw) {
    std::mt19937_64 random(*draw);
    std::uniform_real_distribution<double> uniform(std::numeric_limits<double>::min(), 1);
    for (double& k : key) k = std::log(std::max(k, 1e-300)) - std::log(-std::log(uniform(random)));
  }
  std::vector<size_t> order;
  for (size_t unit = 1; unit < scores.size(); ++unit) {
    if (!std::isnan(scores[unit])) order.push_back(unit);
  }
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return key[a] < key[b]; });
  return order;
}

/// For a position on the way from nothing to everything that may go, the units that go.
class Way {
 public:
  Way(const Channels& channels, const std::vector<size_t>& order, bool per_layer)
      : channels_(channels), order_(order), per_layer_(per_layer) {
    sizes_.resize(static_cast<size_t>(channels.family_count()));
    candidates_.resize(sizes_.size());
    for (size_t unit = 1; unit < channels.family.size(); ++unit) {
      if (channels.family[unit] >= 0) ++sizes_[static_cast<size_t>(channels.family[unit])];
    }
    for (const size_t unit : order) ++candidates_[static_cast<size_t>(channels.family[unit])];
  }

  size_t length() const {
    return per_layer_ ? static_cast<size_t>(*std::ranges::max_element(candidates_)) : order_.size();
  }

  Cut at(size_t step) const {
    Cut cut(channels_.family.size(), false);
    std::vector<int64_t> gone(sizes_.size());
    for (size_t i = 0; i < order_.size(); ++i) {
      const auto family = static_cast<size_t>(channels_.family[order_[i]]);
      const int64_t most = std::min(candidates_[family], sizes_[family] - 1);
      const auto share = static_cast<double>(step) / static_cast<double>(length());
      const int64_t limit =
          per_layer_ ? std::min<int64_t>(most, std::llround(share * static_cast<double>(candidates_[family]))) : most;
      if (gone[family] >= limit || (!per_layer_ && i >= step)) continue;
      ++gone[family];
      cut[order_[i]] = true;
    }
    return cut;
  }

 private:
  const Channels& channels_;
  const std::vector<size_t>& order_;
  bool per_layer_;
  std::vector<int64_t> sizes_, candidates_;
};

}  // namespace

Cut choose_cut(const Graph& graph, const Channels& channels, const Criterion& criterion,
               const std::vector<double>& scores, const CutOptions& options) {
  if (!(options.ratio >= 0 && options.ratio < 1)) {
    throw Error(ErrorKind::usage, "ratio must be at least 0 and below 1: the share of multiply-accumulates that goes");
  }
  const std::vector<size_t> order =
      order_of(comparable(channels, criterion, scores, options.carried_too), options.draw);
  if (order.empty()) {
    throw Error(ErrorKind::unsupported, "graph '" + graph.name + "': criterion '" + std::string(criterion.name) +
                                            "' has a score for no channel that may be cut");
  }
  const Way way(channels, order, options.per_layer);
  const auto macs = static_cast<double>(count_macs(graph));
  const auto left = [&](size_t step) {
    return static_cast<double>(count_macs(cut_channels(graph, channels, way.at(step)))) / macs;
  };
  const double target = 1 - options.ratio;
  size_t low = 0, high = way.length();  // the fewest steps that reach the target
  if (const double least = left(high); least > target) {
    throw Error(ErrorKind::usage, "graph '" + graph.name + "': at most " + percent(1 - least) +
                                      " of the multiply-accumulates can be cut, not " + percent(options.ratio));
  }
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    left(middle) <= target ? high = middle : low = middle + 1;
  }
  return way.at(low);
}

std::vector<bool> draw_blocks(const Graph& graph, std::span<const Block> blocks, double ratio, uint64_t seed) {
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  std::vector<bool> dropped(blocks.size(), false);
  const auto target = (1 - ratio) * static_cast<double>(count_macs(graph));
  auto macs = static_cast<double>(count_macs(graph));
  const double all = macs;
  for (size_t i = 0; macs > target; ++i) {
    if (i == order.size()) {
      throw Error(ErrorKind::usage, "graph '" + graph.name + "': its " + std::to_string(blocks.size()) +
                                        " residual blocks hold " + percent(1 - macs / all) +
                                        " of the multiply-accumulates, not " + percent(ratio));
    }
    dropped[order[i]] = true;
    macs = static_cast<double>(count_macs(drop_blocks(graph, blocks, dropped)));
  }
  return dropped;
}

}  // namespace reducenet
