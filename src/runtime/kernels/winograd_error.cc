#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "runtime/kernels/winograd.h"
#include "runtime/step.h"

namespace reducenet {

template <size_t M>
double winograd_error(const Step& step) {
  using W = Winograd<M>;
  constexpr size_t n = W::kIn;
  using Patch = std::array<std::array<float, n>, n>;
  const auto f = [](double value) { return static_cast<float>(value); };
  const int64_t inputs = step.weight_shape[1], outputs = step.weight_shape[0], some = std::min<int64_t>(outputs, 8);

  // Bᵀ d B in float of one patch of rectified normal values in each channel.
  std::mt19937_64 random(0);
  std::normal_distribution<float> normal;
  std::vector<Patch> patches(static_cast<size_t>(inputs)), entered(patches.size());
  for (size_t c = 0; c < patches.size(); ++c) {
    for (auto& row : patches[c]) {
      for (float& value : row) value = std::max(normal(random), 0.0f);
    }
    Patch half{};
    for (size_t k = 0; k < n; ++k) {
      for (size_t j = 0; j < n; ++j) {
        for (size_t i = 0; i < n; ++i) half[k][j] += f(W::kBt[k][i]) * patches[c][i][j];
      }
    }
    for (size_t k = 0; k < n; ++k) {
      for (size_t l = 0; l < n; ++l) {
        for (size_t j = 0; j < n; ++j) entered[c][k][l] += f(W::kBt[l][j]) * half[k][j];
      }
    }
  }

  double off = 0, most = 0;
  for (int64_t sample = 0; sample < some; ++sample) {
    const double* weights = step.weight.data() + sample * outputs / some * inputs * 9;
    Patch sum{};
    std::array<std::array<double, M>, M> exact{};
    for (size_t c = 0; c < patches.size(); ++c) {
      const double* w = weights + 9 * c;
      for (size_t k = 0; k < n; ++k) {
        double row[3];
        for (size_t v = 0; v < 3; ++v) row[v] = W::kG[k][0] * w[v] + W::kG[k][1] * w[3 + v] + W::kG[k][2] * w[6 + v];
        for (size_t l = 0; l < n; ++l) {
          sum[k][l] += f(row[0] * W::kG[l][0] + row[1] * W::kG[l][1] + row[2] * W::kG[l][2]) * entered[c][k][l];
        }
      }
      for (size_t i = 0; i < M; ++i) {
        for (size_t j = 0; j < M; ++j) {
          for (size_t tap = 0; tap < 9; ++tap) exact[i][j] += w[tap] * patches[c][i + tap / 3][j + tap % 3];
        }
      }
    }
    std::array<std::array<float, n>, M> half{};
    for (size_t i = 0; i < M; ++i) {
      for (size_t l = 0; l < n; ++l) {
        for (size_t k = 0; k < n; ++k) half[i][l] += f(W::kAt[i][k]) * sum[k][l];
      }
    }
    for (size_t i = 0; i < M; ++i) {
      for (size_t j = 0; j < M; ++j) {
        float y = 0;
        for (size_t l = 0; l < n; ++l) y += f(W::kAt[j][l]) * half[i][l];
        off = std::max(off, std::abs(y - exact[i][j]));
        most = std::max(most, std::abs(exact[i][j]));
      }
    }
  }
  return most > 0 ? off / most : 0;
}

template double winograd_error<2>(const Step&);
template double winograd_error<4>(const Step&);
template double winograd_error<6>(const Step&);

}  // namespace reducenet
