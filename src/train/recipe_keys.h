#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "reducenet/train.h"

namespace reducenet::train {

/// An enumeration of a recipe: "cosine|linear", enumerators from 0 in this order.
struct Choice {
  std::string_view names;
  uint8_t* value;
};

/// Where a key's value lives.
using Field = std::variant<bool*, int64_t*, double*, std::string*, std::vector<int64_t>*, std::vector<double>*,
                           std::vector<std::string>*, Activation*, Choice>;

struct Key {
  std::string_view section, name, help;
  Field (*field)(Recipe&);
  double least = -1e18, most = 1e18;  ///< inclusive, for numbers
};

/// The one table: parsing, printing, overriding and listing all read it.
std::span<const Key> keys();

}  // namespace reducenet::train
