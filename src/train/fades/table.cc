#include <algorithm>
#include <array>

#include "train/fades/fades.h"

namespace reducenet::train {

using Noise = std::optional<uint64_t>;
at::Tensor forward_activation_fade(const Fade& fade, std::span<const at::Tensor> in, Noise noise);
at::Tensor forward_branch_fade(const Fade& fade, std::span<const at::Tensor> in, Noise noise);
at::Tensor forward_blend_fade(const Fade& fade, std::span<const at::Tensor> in, Noise noise);
at::Tensor forward_drop_fade(const Fade& fade, std::span<const at::Tensor> in, Noise noise);
at::Tensor masked_activation_fade(const Fade& fade, std::span<const at::Tensor> in, const at::Tensor& m);
at::Tensor masked_branch_fade(const Fade& fade, std::span<const at::Tensor> in, const at::Tensor& m);
at::Tensor masked_blend_fade(const Fade& fade, std::span<const at::Tensor> in, const at::Tensor& m);

namespace {
constexpr std::array table{
    FadeForward{"activation", forward_activation_fade, masked_activation_fade},
    FadeForward{"branch", forward_branch_fade, masked_branch_fade},
    FadeForward{"blend", forward_blend_fade, masked_blend_fade},
    FadeForward{"drop", forward_drop_fade, nullptr},
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
