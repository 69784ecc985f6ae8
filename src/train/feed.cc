#include "train/feed.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace reducenet::train {
namespace {

/// More than this stays in the host's memory: a GPU's is for the network.
constexpr size_t kMostResidentBytes = size_t{4} << 30;

Augmented best_place(const ImageSet& images, at::Device device) {
  return device.is_cuda() && images.pixels.size() <= kMostResidentBytes ? Augmented::on_device : Augmented::on_host;
}

}  // namespace

Feed::Feed(const ImageSet& images, const Preprocessing& preprocessing, int64_t batch, at::Device device)
    : Feed(images, preprocessing, batch, device, best_place(images, device)) {}

Feed::Feed(const ImageSet& images, const Preprocessing& preprocessing, int64_t batch, at::Device device,
           Augmented where)
    : writer_(images, preprocessing), device_(device) {
  if (where == Augmented::on_device) resident_ = std::make_shared<ResidentImages>(images, preprocessing, device);
  set_batch(batch);
}

Feed Feed::with_batch(int64_t batch) const {
  Feed other = *this;
  other.set_batch(batch);
  return other;
}

void Feed::set_batch(int64_t batch) {
  batch_ = batch;
  const int64_t floats = resident_ ? 0 : batch * writer_.images().image_bytes();
  const auto options = at::TensorOptions(at::kFloat).pinned_memory(device_.is_cuda() && !resident_);
  even_ = at::empty({floats}, options);
  odd_ = at::empty({floats}, options);
}

Loader Feed::loader(std::span<const int32_t> order, const Augmentation& augmentation, uint64_t seed, int64_t epoch,
                    int64_t first) {
  const auto memory = [](const at::Tensor& t) {
    return std::span<float>(t.data_ptr<float>(), static_cast<size_t>(t.numel()));
  };
  return Loader({writer_, order, augmentation, seed, epoch}, batch_, first, memory(even_), memory(odd_));
}

Labelled Feed::tensors(const Batch& batch) const {
  const at::Tensor labels = at::from_blob(batch.labels.data(), {batch.count()}, at::kLong);
  const auto placed = [&](const at::Tensor& t) { return device_.is_cuda() ? t.to(device_, /*non_blocking=*/true) : t; };
  if (resident_ && batch.count() > 0) return {resident_->pixels(batch.views, batch.cutout), placed(labels)};
  const ImageSet& images = writer_.images();
  const int64_t row = images.width * images.channels;
  const at::Tensor pixels =
      at::from_blob(batch.pixels.data(), {batch.count(), images.channels, images.height, images.width},
                    {images.height * row, 1, row, images.channels}, at::kFloat);
  return {placed(pixels), placed(labels)};
}

at::Tensor right(const at::Tensor& scores, const at::Tensor& labels) {
  return scores.argmax(1).eq(labels).sum();
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
    correct += right(scores, in.labels).item<int64_t>();
    loss += at::cross_entropy_loss(scores, in.labels, {}, at::Reduction::Sum).item<double>();
  }
  if (by_batch) network.set_momentum(std::nullopt);
  const auto count = static_cast<double>(order.size());
  return {static_cast<double>(correct) / count, loss / count};
}

}  // namespace reducenet::train
