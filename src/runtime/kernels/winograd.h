#pragma once

#include <array>
#include <cstddef>

#include "runtime/step.h"

namespace reducenet {

/// The matrices of the minimal filtering algorithm F(M×M, 3×3):  Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A.
///
/// With N = M + 2 and the points p_0 = 0, p_{2k+1} = a_k, p_{2k+2} = −a_k, and infinity last:
///   Bᵀ row k: coefficients of Π_{l≠k}(x − p_l);  G row k: p_k^j / Π_{l≠k}(p_k − p_l);  Aᵀ column k: p_k^i;
///   at infinity Bᵀ has the coefficients of Π_l(x − p_l), G and Aᵀ a 1 in the last place.
/// Source: Toom–Cook multiplication transposed; Blahut, Fast Algorithms for Signal Processing, §5; Lavin and Gray,
/// arXiv 1509.09308. Points: those of small error among symmetric ones (Barabasz et al., arXiv 1803.10986).
template <size_t M>
struct Winograd {
  static constexpr size_t kOut = M, kIn = M + 2, kPairs = M / 2;
  static constexpr std::array<double, kPairs> kPoints = [] {
    if constexpr (M == 2) return std::array{1.0};
    if constexpr (M == 4) return std::array{2.0 / 3, 3.0 / 2};
    if constexpr (M == 6) return std::array{1.0, 2.0, 0.5};
  }();

  using Square = std::array<std::array<double, kIn>, kIn>;
  static constexpr double point(size_t k) {
    if (k == 0) return 0;
    return k % 2 == 1 ? kPoints[(k - 1) / 2] : -kPoints[(k - 1) / 2];
  }
  /// Π (x − p_l) over all finite points but `left_out`, by rising power.
  static constexpr std::array<double, kIn> product(size_t left_out) {
    std::array<double, kIn> c{1};
    for (size_t l = 0; l + 1 < kIn; ++l) {
      if (l == left_out) continue;
      for (size_t i = kIn - 1; i > 0; --i) c[i] = c[i - 1] - point(l) * c[i];
      c[0] *= -point(l);
    }
    return c;
  }
  /// kBt[k][j]
  static constexpr Square kBt = [] {
    Square bt{};
    for (size_t k = 0; k < kIn; ++k) bt[k] = product(k);
    return bt;
  }();
  /// kG[k][j], j < 3
  static constexpr std::array<std::array<double, 3>, kIn> kG = [] {
    std::array<std::array<double, 3>, kIn> g{};
    for (size_t k = 0; k + 1 < kIn; ++k) {
      double f = 1;
      for (size_t l = 0; l + 1 < kIn; ++l) f *= l == k ? 1 : point(k) - point(l);
      g[k] = {1 / f, point(k) / f, point(k) * point(k) / f};
    }
    g[kIn - 1] = {0, 0, 1};
    return g;
  }();
  /// kAt[i][k]
  static constexpr std::array<std::array<double, kIn>, kOut> kAt = [] {
    std::array<std::array<double, kIn>, kOut> at{};
    for (size_t k = 0; k + 1 < kIn; ++k) {
      double power = 1;
      for (size_t i = 0; i < kOut; ++i, power *= point(k)) at[i][k] = power;
    }
    at[kOut - 1][kIn - 1] = 1;
    return at;
  }();
};

/// What F(M×M, 3×3) in float32 adds to a step's outputs: the largest |ŷ − y| over the largest |y|, y in double, on one
/// patch of rectified normal inputs, for some of the step's own output channels.
template <size_t M>
double winograd_error(const Step& step);

}  // namespace reducenet
