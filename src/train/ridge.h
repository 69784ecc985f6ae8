#pragma once

#include <atomic>
#include <functional>
#include <span>

#include "train/feed.h"
#include "train/network.h"

namespace reducenet::train {

/// Least squares in closed form for the matrix that a network ends in: its inputs x[D] at spread 1 against one for the
/// image's label and zero for the other classes,
///   minimise Σ |W·x + b − onehot|² / images + λ·Σ (spread of x_j · W_j)².
/// In float32, with D²·4 bytes for the products of inputs and four times that while solving; Error(usage) where there
/// is less memory.
class RidgeRegression {
 public:
  /// Throws Error(usage) unless the network's output is a Gemm with a bias, of constants that nothing else reads.
  /// `network` must outlive this.
  explicit RidgeRegression(Network& network);

  /// Images without augmentation, and what to do on the way.
  struct Pass {
    std::span<const int32_t> order;
    const std::atomic<bool>* stop = nullptr;
    std::function<void(int64_t images)> on_images{};  ///< so many are done
  };
  /// Learns from these images and, with `mirror`, from their mirror images; false when stopped, and nothing of it is
  /// kept. Where the matrix reads a flattened [C,H,W] whose second half of channels answers to a mirror image as the
  /// first half to the image (checked on the first batch), sums over both make one pass over the images enough, and D
  /// half as large.
  bool learn(Feed& feed, const Pass& pass, bool mirror);
  /// Keeps the inputs of these images for solve(); after learn().
  bool hold_out(Feed& feed, const Pass& pass);

  struct Solution {
    at::Tensor weight, bias;  ///< [classes, inputs of the matrix], [classes]
    double top1 = -1;         ///< share of the held-out images that it gets right; −1 without
  };
  /// For the penalty λ. Throws Error(check_failed) where rounding leaves more than a thousandth of the right side
  /// unexplained: the penalty is too small for it.
  Solution solve(double penalty) const;
  /// Puts it into the network.
  void apply(const Solution& solution);

 private:
  at::Tensor inputs_of(const at::Tensor& pixels);
  template <class Each>
  bool for_each_batch(Feed& feed, const Pass& pass, Each each);
  bool halves_mirror(const at::Tensor& inputs, const at::Tensor& of_mirrored) const;
  at::Tensor folded(const at::Tensor& inputs) const;
  at::Tensor unfolded(const at::Tensor& weight) const;
  void add(const at::Tensor& inputs, const at::Tensor& labels);

  Network& network_;
  ValueId read_;              // by the matrix, before a Flatten
  at::Tensor weight_, bias_;  // the network's own
  bool folds_ = false;
  std::vector<int64_t> folded_shape_;  // [C/2, H, W]
  int64_t count_ = 0;
  at::Tensor shift_, scale_;   // [D], of the first batch: what sums are taken of is near 0 and of spread near 1
  at::Tensor products_;        // [D, D], below the diagonal and on it
  at::Tensor sums_, targets_;  // [D] in float64, [D, classes]
  at::Tensor labels_;          // [classes]
  at::Tensor held_inputs_, held_labels_;
};

}  // namespace reducenet::train
