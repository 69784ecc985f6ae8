#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "data/testing.h"
#include "reducenet/data.h"

namespace reducenet {
namespace {

using testing::error_of;

struct Features {
  int64_t dim = 0;
  std::vector<float> values;  // [count][dim]
};

// Mean 0 and deviation 1 in every dimension, by the first set's statistics.
void standardise(Features& train, Features& test) {
  const auto dim = static_cast<size_t>(train.dim);
  for (size_t d = 0; d < dim; ++d) {
    double sum = 0, squares = 0;
    const double n = static_cast<double>(train.values.size() / dim);
    for (size_t i = d; i < train.values.size(); i += dim) sum += train.values[i];
    for (size_t i = d; i < train.values.size(); i += dim) squares += std::pow(train.values[i] - sum / n, 2);
    const auto mean = static_cast<float>(sum / n), scale = static_cast<float>(1 / (std::sqrt(squares / n) + 1e-9));
    for (Features* set : {&train, &test}) {
      for (size_t i = d; i < set->values.size(); i += dim) set->values[i] = (set->values[i] - mean) * scale;
    }
  }
}

std::array<float, 10> logits(const std::vector<float>& weights, const float* x, size_t dim) {
  std::array<float, 10> z{};
  for (size_t k = 0; k < 10; ++k) {
    float sum = weights[k * (dim + 1) + dim];
    for (size_t d = 0; d < dim; ++d) sum += weights[k * (dim + 1) + d] * x[d];
    z[k] = sum;
  }
  return z;
}

// Held-out accuracy of softmax regression trained by gradient descent with momentum.
double linear_accuracy(Features train, const std::vector<int32_t>& labels, Features test,
                       const std::vector<int32_t>& test_labels, int epochs, float rate) {
  standardise(train, test);
  const auto dim = static_cast<size_t>(train.dim);
  std::vector<float> weights(10 * (dim + 1)), velocity(weights.size());
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::vector<float> gradient(weights.size());
    for (size_t i = 0; i < labels.size(); ++i) {
      const float* x = train.values.data() + i * dim;
      std::array<float, 10> p = logits(weights, x, dim);
      const float top = *std::max_element(p.begin(), p.end());
      float sum = 0;
      for (float& v : p) sum += v = std::exp(v - top);
      for (size_t k = 0; k < 10; ++k) {
        const float error = p[k] / sum - (static_cast<size_t>(labels[i]) == k ? 1.0f : 0.0f);
        for (size_t d = 0; d < dim; ++d) gradient[k * (dim + 1) + d] += error * x[d];
        gradient[k * (dim + 1) + dim] += error;
      }
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      velocity[i] = 0.9f * velocity[i] - rate * gradient[i] / static_cast<float>(labels.size());
      weights[i] += velocity[i];
    }
  }
  int64_t right = 0;
  for (size_t i = 0; i < test_labels.size(); ++i) {
    const std::array<float, 10> z = logits(weights, test.values.data() + i * dim, dim);
    right += std::max_element(z.begin(), z.end()) - z.begin() == test_labels[i];
  }
  return static_cast<double>(right) / static_cast<double>(test_labels.size());
}

Features pixels(const ImageSet& set) {
  return {set.image_bytes(), {set.pixels.begin(), set.pixels.end()}};
}

// Mean of x(p)·x(p + lag) over the image, over the variance: even in x, blind to position. By lags of 0…8 down and −8…8
// across.
Features autocorrelation(const ImageSet& set) {
  Features features;
  const int64_t h = set.height, w = set.width, reach = 8;
  for (int64_t n = 0; n < set.count(); ++n) {
    std::vector<double> x(set.image(n), set.image(n) + h * w);
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / static_cast<double>(h * w);
    for (double& v : x) {
      v -= mean;
      variance += v * v / static_cast<double>(h * w);
    }
    const size_t before = features.values.size();
    for (int64_t dy = 0; dy <= reach; dy += 2) {
      for (int64_t dx = -reach; dx <= reach; dx += 2) {
        double sum = 0;
        for (int64_t i = 0; i + dy < h; ++i) {
          for (int64_t j = std::max<int64_t>(0, -dx); j < std::min(w, w - dx); ++j)
            sum += x[i * w + j] * x[(i + dy) * w + j + dx];
        }
        features.values.push_back(
            static_cast<float>(sum / (variance * static_cast<double>((h - dy) * (w - std::abs(dx))))));
      }
    }
    features.dim = static_cast<int64_t>(features.values.size() - before);
  }
  return features;
}

TEST(Generator, LinearClassifiersGuessAndNonlinearFeaturesDoNot) {
  const ImageSet train = generate_images(2000, 1, 32, 1), test = generate_images(1000, 2, 32, 1);
  const double linear = linear_accuracy(pixels(train), train.labels, pixels(test), test.labels, 20, 0.01f);
  const double nonlinear =
      linear_accuracy(autocorrelation(train), train.labels, autocorrelation(test), test.labels, 150, 0.1f);
  RecordProperty("linear", std::to_string(linear));
  RecordProperty("nonlinear", std::to_string(nonlinear));
  EXPECT_LT(linear, 0.2);
  EXPECT_GT(nonlinear, 0.8);
}

// x and 255 − x are equally likely in every class.
TEST(Generator, ClassMeansAreTheSameGrey) {
  const ImageSet set = generate_images(20000, 5, 16, 1);
  std::vector<double> sums(10 * 256);
  for (int64_t i = 0; i < set.count(); ++i) {
    for (int64_t p = 0; p < 256; ++p)
      sums[static_cast<size_t>(set.labels[static_cast<size_t>(i)] * 256 + p)] += set.image(i)[p];
  }
  // 2,000 images of deviation 59 a class: the mean's is 1.3, and 7 is more than five times that.
  for (const double sum : sums) EXPECT_NEAR(sum / 2000, 127.5, 7);
}

TEST(Generator, SameEverywhere) {
  const ImageSet set = generate_images(20, 7);
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const uint8_t value : set.pixels) hash = (hash ^ value) * 0x100000001B3;
  EXPECT_EQ(hash, 350622991637740035u);
}

TEST(Generator, AnImageDependsOnSeedAndPositionOnly) {
  const ImageSet few = generate_images(10, 3), many = generate_images(20, 3), other = generate_images(10, 4);
  EXPECT_TRUE(std::equal(few.pixels.begin(), few.pixels.end(), many.pixels.begin()));
  EXPECT_NE(few.pixels, other.pixels);
  EXPECT_EQ(many.class_names.size(), 10u);
  for (int32_t i = 0; i < 20; ++i) EXPECT_EQ(many.labels[static_cast<size_t>(i)], i % 10);
}

TEST(Generator, ByPath) {
  const ImageSet train = load_images("generated:50", Split::train), test = load_images("generated:50", Split::test);
  EXPECT_EQ(train.count(), 50);
  EXPECT_EQ(test.count(), 10);
  EXPECT_FALSE(std::equal(test.pixels.begin(), test.pixels.end(), train.pixels.begin()));
  LoadImagesOptions options;
  options.height = 20;
  options.width = 24;
  options.channels = 1;
  const ImageSet fitted = load_images("generated:50", Split::test, options);
  EXPECT_EQ(fitted.height * 1000 + fitted.width * 10 + fitted.channels, 20241);
  for (const char* path :
       {"generated:", "generated:0", "generated:-1", "generated:5x", "generated:99999999999999999999"}) {
    EXPECT_TRUE(error_of([&] { load_images(path, Split::train); }).starts_with("2: ")) << path;
  }
  EXPECT_TRUE(error_of([] { generate_images(1, 1, 32, 2); }).starts_with("2: "));
}

}  // namespace
}  // namespace reducenet
