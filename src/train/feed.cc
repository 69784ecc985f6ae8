#include "train/feed.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace reducenet::train {

Feed::Feed(const ImageSet& images, const Preprocessing& preprocessing, int64_t batch, at::Device device)
    : writer_(images, preprocessing), batch_(batch), device_(device) {
  const auto options = at::TensorOptions(at::kFloat).pinned_memory(device.is_cuda());
  even_ = at::empty({batch * images.image_bytes()}, options);
  odd_ = at::empty({batch * images.image_bytes()}, options);
}

Loader Feed::loader(std::span<const int32_t> order, const Augmentation& augmentation, uint64_t seed, int64_t epoch,
                    int64_t first) {
  const auto memory = [](const at::Tensor& t) {
    return std::span<float>(t.data_ptr<float>(), static_cast<size_t>(t.numel()));
  };
  return Loader({writer_, order, augmentation, seed, epoch}, batch_, first, memory(even_), memory(odd_));
}

Labelled Feed::tensors(const Batch& batch) const {
  const ImageSet& images = writer_.images();
  const int64_t row = images.width * images.channels;
  const at::Tensor pixels =
      at::from_blob(batch.pixels.data(), {batch.count(), images.channels, images.height, images.width},
                    {images.height * row, 1, row, images.channels}, at::kFloat);
  const at::Tensor labels = at::from_blob(batch.labels.data(), {batch.count()}, at::kLong);
  if (!device_.is_cuda()) return {pixels, labels};
  return {pixels.to(device_, /*non_blocking=*/true), labels.to(device_, /*non_blocking=*/true)};
}

Score evaluate(Network& network, Feed& feed, std::span<const int32_t> order, bool by_batch) {
  const c10::AutoGradMode no_grad(false);
  Loader loader = feed.loader(order);
  int64_t correct = 0;
  double loss = 0;
  if (by_batch) network.set_momentum(0);
  for (Batch batch = loader.next(); batch.count() > 0; batch = loader.next()) {
    const Labelled in = feed.tensors(batch);
    const at::Tensor scores = network.forward(in.pixels, by_batch);
    correct += scores.argmax(1).eq(in.labels).sum().item<int64_t>();
    loss += at::cross_entropy_loss(scores, in.labels, {}, at::Reduction::Sum).item<double>();
  }
  if (by_batch) network.set_momentum(std::nullopt);
  const auto count = static_cast<double>(order.size());
  return {static_cast<double>(correct) / count, loss / count};
}

}  // namespace reducenet::train
