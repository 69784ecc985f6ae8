#pragma once

#include <string>

namespace reducenet {

/// 0.125 → "0.125", 1600 → "1600".
inline std::string cost_text(double cost) {
  std::string text = std::to_string(cost);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace reducenet
