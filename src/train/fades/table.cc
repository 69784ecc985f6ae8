#include <algorithm>
#include <array>

#include "train/fades/fades.h"

namespace reducenet::train {

at::Tensor forward_activation_fade(const Fade& fade, const at::Tensor& x);

namespace {
constexpr std::array table{
    FadeForward{"activation", forward_activation_fade},
};
}  // namespace

std::span<const FadeForward> fade_forwards() {
  return table;
}

const FadeForward* find_fade_forward(std::string_view kind) {
  const auto row = std::ranges::find(table, kind, &FadeForward::kind);
  return row == table.end() ? nullptr : &*row;
}

}  // namespace reducenet::train
