#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "data/readers.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr std::string_view prefix = "generated";
constexpr int64_t default_count = 10'000, max_count = 10'000'000;

// SplitMix64 (Steele, Lea, Flood 2014). Only integers are drawn, so every platform draws the same images.
class Random {
 public:
  explicit Random(uint64_t state) : state_(state) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  // Uniform in [low, high].
  int64_t in(int64_t low, int64_t high) {
    return low + static_cast<int64_t>((next() >> 32) * static_cast<uint64_t>(high - low + 1) >> 32);
  }
  int64_t sign() { return 1 - 2 * in(0, 1); }

 private:
  uint64_t state_;
};

// Lengths in quarters of a pixel.
struct Pose {
  int64_t x, y;              // the middle of the pattern in the image
  int64_t radius;            // of a shape, or of the disc that a texture fills
  int64_t period;            // of a texture
  int64_t phase_x, phase_y;  // of a texture

  bool in_disc(int64_t dx, int64_t dy) const { return dx * dx + dy * dy < radius * radius; }
  bool in_stripe(int64_t position) const { return ((position % period) + period) % period < period / 2; }
};

// Is the point (x, y), measured from the pattern's middle (or, for a texture, from its phase), covered?
struct Pattern {
  const char* name;
  bool is_texture;
  bool (*covers)(int64_t x, int64_t y, const Pose& pose);
};

constexpr std::array<Pattern, 10> patterns = {{
    {"horizontal stripes", true, [](int64_t, int64_t y, const Pose& p) { return p.in_stripe(y); }},
    {"vertical stripes", true, [](int64_t x, int64_t, const Pose& p) { return p.in_stripe(x); }},
    {"rising stripes", true, [](int64_t x, int64_t y, const Pose& p) { return p.in_stripe(5 * (x + y) / 7); }},
    {"falling stripes", true, [](int64_t x, int64_t y, const Pose& p) { return p.in_stripe(5 * (x - y) / 7); }},
    {"chequers", true, [](int64_t x, int64_t y, const Pose& p) { return p.in_stripe(x) != p.in_stripe(y); }},
    {"dots", true, [](int64_t x, int64_t y, const Pose& p) { return p.in_stripe(x) && p.in_stripe(y); }},
    {"disc", false, [](int64_t x, int64_t y, const Pose& p) { return p.in_disc(x, y); }},
    {"ring", false,
     [](int64_t x, int64_t y, const Pose& p) { return p.in_disc(x, y) && !p.in_disc(3 * x / 2, 3 * y / 2); }},
    {"cross", false,
     [](int64_t x, int64_t y, const Pose& p) {
       return std::max(std::abs(x), std::abs(y)) < p.radius && 4 * std::min(std::abs(x), std::abs(y)) < p.radius;
     }},
    {"triangle", false,
     [](int64_t x, int64_t y, const Pose& p) { return y < p.radius && 2 * std::abs(x) < y + p.radius; }},
}};

Pose random_pose(Random& random, int64_t unit) {
  Pose pose{};
  pose.x = random.in(unit / 4, 3 * unit / 4);
  pose.y = random.in(unit / 4, 3 * unit / 4);
  pose.radius = random.in(unit * 6 / 32, unit * 10 / 32);
  pose.period = random.in(unit * 4 / 32, unit * 9 / 32);
  pose.phase_x = random.in(0, pose.period - 1);
  pose.phase_y = random.in(0, pose.period - 1);
  return pose;
}

// pixel = 127.5 + background + ramp + foreground · (coverage − ½) + noise. All of these have a random sign, in every
// channel and independently of the class, so x and 255 − x are equally likely in every class: all class means are the
// same grey, and the best linear classifier (in cross-entropy) is the constant one.
void draw(const Pattern& pattern, Random& random, int64_t size, int64_t channels, uint8_t* pixels) {
  const Pose pose = random_pose(random, size * 4);
  std::array<int64_t, 3> background{}, foreground{}, ramp_x{}, ramp_y{};
  for (int64_t c = 0; c < channels; ++c) {
    background[c] = random.in(-30, 30);
    foreground[c] = random.sign() * random.in(60, 140);
    ramp_x[c] = random.in(-20, 20);
    ramp_y[c] = random.in(-20, 20);
  }
  const auto covered = [&](int64_t x, int64_t y) {
    if (!pattern.is_texture) return pattern.covers(x, y, pose);
    return pose.in_disc(x, y) && pattern.covers(x + pose.phase_x, y + pose.phase_y, pose);
  };
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      int64_t quarters = 0;  // of the pixel
      for (const int64_t dy : {1, 3}) {
        for (const int64_t dx : {1, 3}) quarters += covered(4 * x + dx - pose.x, 4 * y + dy - pose.y);
      }
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t ramp = (ramp_x[c] * (2 * x + 1 - size) + ramp_y[c] * (2 * y + 1 - size)) / size;
        const int64_t twice =
            255 + 2 * (background[c] + ramp + random.in(-30, 30)) + foreground[c] * (quarters - 2) / 2;
        *pixels++ = static_cast<uint8_t>(std::clamp<int64_t>((twice + random.in(0, 1)) / 2, 0, 255));
      }
    }
  }
}

}  // namespace

ImageSet generate_images(int64_t count, uint64_t seed, int64_t size, int64_t channels) {
  if (count < 1 || count > max_count || size < 8 || size > 1024 || (channels != 1 && channels != 3)) {
    throw Error(ErrorKind::usage, "cannot generate " + std::to_string(count) + " images of " + std::to_string(size) +
                                      "×" + std::to_string(size) + "×" + std::to_string(channels) +
                                      ": possible are 1…" + std::to_string(max_count) +
                                      " images of side 8…1024 with 1 or 3 channels");
  }
  ImageSet set;
  set.height = set.width = size;
  set.channels = channels;
  set.pixels.resize(static_cast<size_t>(count * set.image_bytes()));
  for (const Pattern& pattern : patterns) set.class_names.emplace_back(pattern.name);
  for (int64_t i = 0; i < count; ++i) {
    Random random(Random(seed).next() + static_cast<uint64_t>(i));  // image i does not depend on the count
    const int64_t label = i % static_cast<int64_t>(patterns.size());
    set.labels.push_back(static_cast<int32_t>(label));
    draw(patterns[static_cast<size_t>(label)], random, size, channels, set.pixels.data() + i * set.image_bytes());
  }
  return set;
}

bool is_generated(const std::string& path) {
  return path == prefix || path.starts_with(std::string(prefix) + ":");
}

ImageSet read_generated(const std::string& path, Split split, const LoadImagesOptions& options) {
  int64_t count = default_count;
  if (path != prefix) {
    const char* end = path.data() + path.size();
    const auto [stop, error] = std::from_chars(path.data() + prefix.size() + 1, end, count);
    if (error != std::errc{} || stop != end || count < 1 || count > max_count) {
      throw Error(ErrorKind::usage, path + ": the count must be in 1…" + std::to_string(max_count));
    }
  }
  const bool train = split == Split::train;
  const int64_t size = std::max<int64_t>(options.height.value_or(32), 8);
  return fit_images(generate_images(train ? count : std::max<int64_t>(count / 5, 1), train ? 1 : 2, size,
                                    options.channels ? options.channels : 3),
                    options);
}

}  // namespace reducenet
