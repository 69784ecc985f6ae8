#include "fades/fades.h"

#include <string>

#include "fades/rows.h"
#include "reducenet/error.h"

namespace reducenet {

std::span<const FadeKind> fades() {
  static const FadeKind table[] = {kActivationFade, kBranchFade, kBlendFade, kDropFade};
  return table;
}

const FadeKind& find_fade(std::string_view name) {
  std::string names;
  for (const FadeKind& kind : fades()) {
    if (kind.name == name) return kind;
    names += (names.empty() ? "" : ", ") + std::string(kind.name);
  }
  throw Error(ErrorKind::bad_input, "unknown fade '" + std::string(name) + "'; known: " + names);
}

}  // namespace reducenet
