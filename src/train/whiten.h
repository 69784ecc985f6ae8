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

}  // namespace reducenet::train
