#include "certificate.h"

#include <fmt/format.h>

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
                               {"scale", region.scale},
                               {"superposition_error", region.superposition_error}});
  }
  if (!certificate.verified) json["why"] = certificate.why;
  return json;
}

std::string certificate_text(const Certificate& certificate) {
  std::string text = fmt::format(
      "{}: max abs error {:.2g}, relative {:.2g} (tolerance {:.2g}), top-1 agreement {:.2f} % on {} samples, {} merged "
      "regions checked\n",
      certificate.verified ? "verified" : "NOT verified", certificate.max_abs_error, certificate.max_rel_error,
      certificate.tolerance, 100 * certificate.top1_agreement, certificate.samples, certificate.regions.size());
  if (!certificate.verified) text += certificate.why + "\n";
  return text;
}

}  // namespace reducenet::cli
