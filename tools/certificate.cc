#include "certificate.h"

#include <fmt/format.h>

#include <algorithm>

namespace reducenet::cli {

Json certificate_json(const Certificate& certificate) {
  Json json{{"max_abs_error", certificate.max_abs_error},
            {"max_rel_error", certificate.max_rel_error},
            {"own_rel_error", certificate.own_rel_error},
            {"tolerance", certificate.tolerance},
            {"top1_agreement", certificate.top1_agreement},
            {"verified", certificate.verified},
            {"samples", certificate.samples},
            {"regions", Json::array()}};
  for (const RegionCheck& region : certificate.regions) {
    json["regions"].push_back({{"name", region.name},
                               {"max_abs_error", region.max_abs_error},
                               {"bound", region.bound},
                               {"error_to_bound", region.error_to_bound},
                               {"scale", region.scale},
                               {"superposition_error", region.superposition_error}});
    if (!region.not_run.empty()) json["regions"].back()["not_run"] = region.not_run;
  }
  if (!certificate.engine.empty()) json["engine"] = certificate.engine;
  if (!certificate.not_run.empty()) json["not_run"] = certificate.not_run;
  if (!certificate.verified) json["why"] = certificate.why;
  return json;
}

std::string certificate_text(const Certificate& certificate) {
  double share = 0;
  size_t run = 0;
  std::string not_run;
  for (const RegionCheck& region : certificate.regions) {
    share = std::max(share, region.error_to_bound);
    if (region.not_run.empty()) {
      ++run;
    } else {
      not_run = region.not_run;
    }
  }
  std::string regions =
      fmt::format("{} merged regions checked, errors at most {:.2g} of what rounding explains", run, share);
  if (run < certificate.regions.size()) {
    regions += fmt::format(", {} not run by themselves: {}", certificate.regions.size() - run, not_run);
  }
  if (!certificate.not_run.empty()) {
    return fmt::format("{}: {}; the whole network was not run: {}\n{}",
                       certificate.verified ? "verified" : "NOT verified", regions, certificate.not_run,
                       certificate.verified ? "" : certificate.why + "\n");
  }
  std::string text = fmt::format(
      "{}: max abs error {:.2g}, relative {:.2g} (tolerance {:.2g}), top-1 agreement {:.2f} % on {} samples{}{}\n",
      certificate.verified ? "verified" : "NOT verified", certificate.max_abs_error, certificate.max_rel_error,
      certificate.tolerance, 100 * certificate.top1_agreement, certificate.samples,
      certificate.engine.empty() ? "" : " in " + certificate.engine, certificate.regions.empty() ? "" : "; " + regions);
  if (!certificate.verified) text += certificate.why + "\n";
  return text;
}

}  // namespace reducenet::cli
