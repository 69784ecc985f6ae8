#pragma once

#include "reducenet/data.h"
#include "reducenet/graph.h"

namespace reducenet::train {

/// Puts a fixed linear layer in front of the convolution that reads the image. It has that convolution's kernel, stride
/// and padding, and a channel for each of the C·kh·kw principal components of the images' patches (up to 100,000 of
/// them, preprocessed as the graph's metadata say), divided by √(its variance + a tenth of the mean variance). The
/// convolution becomes a 1×1 of these, its new weights a WeightDraw's by `seed`. Both collapse
/// into one. (A whitening first layer: Page, "How to train your ResNet", 2018–19; patches: Coates, Ng, Lee, AISTATS
/// 2011.) Throws Error(usage) where the image is read by anything but one convolution of one group and constant
/// weights, or is smaller than its kernel.
void whiten(Graph& graph, const ImageSet& images, uint64_t seed);

/// Filters for the convolution that reads the image which are patches of the images, so that it need not be trained
/// (random patches and a threshold: Coates, Ng, ICML 2011). With patches p of mean µ, covariance VDVᵀ (patches and
/// their mirror images) and Z = V·(D + 0.3·mean variance)^−½·Vᵀ, a filter is Z·u, u = Z·(p − µ) at length 1, of a patch
/// drawn by `seed`; its bias is minus the `threshold` quantile of what the filter answers to patches. The channels are
/// four quarters: filters, their opposites, and the mirror images of these two. Throws Error(usage) where whiten()
/// does, and where that convolution has no bias or a number of channels that is not a multiple of four.
void draw_filters(Graph& graph, const ImageSet& images, double threshold, uint64_t seed);

}  // namespace reducenet::train
