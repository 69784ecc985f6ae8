#include "train/loader.h"

#include <algorithm>
#include <numeric>

#include "data/mix.h"

namespace reducenet::train {
namespace {

/// Uniform in 0 … count − 1 from the top bits of `random`, which moves on.
int64_t draw(uint64_t& random, int64_t count) {
  random = mix(random);
  return static_cast<int64_t>((random >> 32) * static_cast<uint64_t>(count) >> 32);
}

}  // namespace

std::vector<int32_t> epoch_order(std::vector<int32_t> indices, uint64_t seed, int64_t epoch) {
  std::vector<std::pair<uint64_t, int32_t>> keyed;
  keyed.reserve(indices.size());
  for (const int32_t index : indices) {
    keyed.emplace_back(random_bits(seed, static_cast<uint64_t>(epoch), static_cast<uint64_t>(index)), index);
  }
  std::ranges::sort(keyed);
  std::ranges::transform(keyed, indices.begin(), &std::pair<uint64_t, int32_t>::second);
  return indices;
}

View draw_view(int64_t image, int64_t height, int64_t width, const Augmentation& augmentation, uint64_t random) {
  View view{.image = image};
  if (augmentation.crop > 0) {
    view.down = draw(random, 2 * augmentation.crop + 1) - augmentation.crop;
    view.right = draw(random, 2 * augmentation.crop + 1) - augmentation.crop;
  }
  if (augmentation.flip) view.mirrored = draw(random, 2);
  if (augmentation.cutout > 0) {
    view.top = draw(random, height) - augmentation.cutout / 2;
    view.left = draw(random, width) - augmentation.cutout / 2;
  }
  return view;
}

std::vector<float> pixel_table(const Preprocessing& preprocessing, int64_t channels) {
  // An image of 256 columns that holds every pixel value.
  Preprocessing ramp = preprocessing;
  ramp.height = 1;
  ramp.width = 256;
  std::vector<uint8_t> pixels;
  for (int value = 0; value < 256; ++value)
    pixels.insert(pixels.end(), static_cast<size_t>(channels), static_cast<uint8_t>(value));
  std::vector<float> table(pixels.size());
  ramp.apply(pixels.data(), table.data());
  return table;
}

ImageWriter::ImageWriter(const ImageSet& images, const Preprocessing& preprocessing)
    : images_(images), table_(pixel_table(preprocessing, images.channels)) {}

void ImageWriter::write(const View& view, int64_t cutout, float* out) const {
  const int64_t height = images_.height, width = images_.width, channels = images_.channels;
  const uint8_t* const pixels = images_.image(view.image);
  const int64_t down = view.down, right = view.right;
  const bool mirrored = view.mirrored != 0;
  const int64_t step = mirrored ? -channels : channels;

  const auto fill = [&](float* from, int64_t count, bool mean) {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < channels; ++c)
        from[i * channels + c] = mean ? 0.0F : table_[static_cast<size_t>(c) * 256];
    }
  };
  // Columns first … last − 1 of the output lie inside the shifted image.
  const int64_t first = std::clamp<int64_t>(-right, 0, width), last = std::clamp<int64_t>(width - right, first, width);
  for (int64_t y = 0; y < height; ++y) {
    float* const row = out + y * width * channels;
    const int64_t source_y = y + down;
    if (source_y < 0 || source_y >= height) {
      fill(row, width, false);
      continue;
    }
    fill(row, first, false);
    fill(row + last * channels, width - last, false);
    const int64_t source_x = mirrored ? width - 1 - (first + right) : first + right;
    const uint8_t* source = pixels + (source_y * width + source_x) * channels;
    for (float* to = row + first * channels; to < row + last * channels; to += channels, source += step) {
      for (int64_t c = 0; c < channels; ++c) to[c] = table_[static_cast<size_t>(c * 256 + source[c])];
    }
  }
  if (cutout > 0) {
    const int64_t x0 = std::max<int64_t>(view.left, 0), x1 = std::min(view.left + cutout, width);
    for (int64_t y = std::max<int64_t>(view.top, 0); y < std::min(view.top + cutout, height); ++y) {
      fill(out + (y * width + x0) * channels, x1 - x0, true);
    }
  }
}

Loader::Loader(Source source, int64_t size, int64_t first, std::span<float> even, std::span<float> odd)
    : source_(source), size_(size), index_(first), pixels_{even, odd} {
  pending_ = std::async(std::launch::async, &Loader::make, this, index_);
}

Loader::~Loader() {
  if (pending_.valid()) pending_.wait();
}

Batch Loader::next() {
  const Batch batch = pending_.get();
  pending_ = std::async(std::launch::async, &Loader::make, this, ++index_);
  return batch;
}

Batch Loader::make(int64_t index) {
  const ImageSet& images = source_.images.images();
  const auto total = static_cast<int64_t>(source_.order.size());
  const int64_t first = std::min(index * size_, total), count = std::min(size_, total - first);
  const std::span<float> pixels = pixels_[index % 2];
  std::vector<int64_t>& labels = labels_[index % 2];
  std::vector<View>& views = views_[index % 2];
  labels.resize(static_cast<size_t>(count));
  views.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const int32_t image = source_.order[static_cast<size_t>(first + i)];
    const uint64_t random =
        random_bits(source_.seed, static_cast<uint64_t>(source_.epoch), static_cast<uint64_t>(image));
    View& view = views[static_cast<size_t>(i)];
    view = draw_view(image, images.height, images.width, source_.augmentation, random);
    if (!pixels.empty()) {
      source_.images.write(view, source_.augmentation.cutout, pixels.data() + i * images.image_bytes());
    }
    labels[static_cast<size_t>(i)] = images.labels[static_cast<size_t>(image)];
  }
  const std::span<float> used =
      pixels.empty() ? pixels : pixels.first(static_cast<size_t>(count * images.image_bytes()));
  return {used, labels, views, source_.augmentation.cutout};
}

}  // namespace reducenet::train
