#include "train/resident.h"

#include <ATen/ATen.h>

namespace reducenet::train {
namespace {

constexpr int64_t kFields = 6;  // of a View
static_assert(sizeof(View) == kFields * sizeof(int64_t));

}  // namespace

ResidentImages::ResidentImages(const ImageSet& images, const Preprocessing& preprocessing, at::Device device)
    : height_(images.height), width_(images.width), channels_(images.channels) {
  // from_blob takes what is not const; neither tensor is written to.
  auto* const bytes = const_cast<uint8_t*>(images.pixels.data());
  const auto count = static_cast<int64_t>(images.count());
  rows_ = at::from_blob(bytes, {count * height_ * width_, channels_}, at::kByte)
              .to(device, false, /*copy=*/device.is_cuda());
  std::vector<float> table = pixel_table(preprocessing, channels_);
  table_ = at::from_blob(table.data(), {channels_ * 256}, at::kFloat).to(device, false, /*copy=*/true);
}

at::Tensor ResidentImages::pixels(std::span<const View> views, int64_t cutout) const {
  const auto count = static_cast<int64_t>(views.size());
  auto* const numbers = const_cast<int64_t*>(&views.data()->image);
  const at::Tensor fields = at::from_blob(numbers, {count, kFields}, at::kLong).to(rows_.device());
  // Field k of every view, to be spread over [N, H, W].
  const auto field = [&](int64_t k) { return fields.select(1, k).reshape({count, 1, 1}); };
  const auto whole = at::TensorOptions(at::kLong).device(rows_.device());
  const at::Tensor row = at::arange(height_, whole).reshape({1, height_, 1});
  const at::Tensor column = at::arange(width_, whole).reshape({1, 1, width_});
  const auto within = [](const at::Tensor& x, int64_t size) { return x.ge(0).logical_and(x.lt(size)); };

  const at::Tensor y = row + field(1), x = column + field(2);
  const at::Tensor inside = within(y, height_).logical_and(within(x, width_));
  const at::Tensor source_x = at::where(field(3).ne(0), width_ - 1 - x, x);
  const at::Tensor place = (field(0) * height_ + y.clamp(0, height_ - 1)) * width_ + source_x.clamp(0, width_ - 1);
  const at::Tensor bytes = rows_.index_select(0, place.flatten()).reshape({count, height_, width_, channels_});
  const at::Tensor values = bytes.to(at::kLong).mul_(inside.unsqueeze(3));  // outside: black
  at::Tensor out = table_.index_select(0, (values + at::arange(channels_, whole) * 256).flatten());
  out = out.reshape({count, height_, width_, channels_});
  if (cutout > 0) {
    const at::Tensor cut = within(row - field(4), cutout).logical_and(within(column - field(5), cutout));
    out.masked_fill_(cut.unsqueeze(3), 0);
  }
  return out.permute({0, 3, 1, 2});
}

}  // namespace reducenet::train
