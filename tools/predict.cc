#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "classifier.h"
#include "reducenet/formats.h"
#include "table.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> images;
  int64_t top = 5;
  int threads = default_threads();
};

/// exp(s − max s)/Σ
std::vector<double> softmax(std::span<const float> scores) {
  const double most = *std::ranges::max_element(scores);
  std::vector<double> p(scores.size());
  std::ranges::transform(scores, p.begin(), [&](float s) { return std::exp(s - most); });
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

Result predict(const Options& options) {
  Classifier classifier(load_to_run(options.model), 1, options.threads);
  const Preprocessing& wanted = classifier.preprocessing();
  Result result;
  result.json["images"] = Json::array();
  Table table({"image", "class", "%"});
  for (const std::string& path : options.images) {
    const ImageSet image = load_image_file(
        path,
        {.height = wanted.height, .width = wanted.width, .channels = wanted.channels, .cache = {}, .progress = {}});
    const std::span<const float> scores = classifier.scores(image, 0, 1);
    const std::vector<double> p =
        classifier.ends_in_softmax() ? std::vector<double>(scores.begin(), scores.end()) : softmax(scores);
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return p[a] > p[b]; });
    order.resize(std::min(order.size(), static_cast<size_t>(options.top)));
    Json predictions = Json::array();
    for (const size_t c : order) {
      const std::string name = classifier.class_name(static_cast<int64_t>(c));
      predictions.push_back({{"class", name}, {"index", c}, {"probability", p[c]}});
      table.add({c == order.front() ? path : "", name, fmt::format("{:.2f}", 100 * p[c])});
    }
    result.json["images"].push_back({{"path", path}, {"predictions", std::move(predictions)}});
  }
  result.text = table.str();
  return result;
}

}  // namespace

Action declare_predict(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "Model file (.onnx, .safetensors)")->required();
  app.add_option("images", options->images, "JPEG or PNG files")->required();
  app.add_option("--top", options->top, "Classes to print per image (5)")->check(CLI::PositiveNumber);
  app.add_option("--threads", options->threads, "Threads (all)")->check(CLI::PositiveNumber);
  return [options] { return predict(*options); };
}

}  // namespace reducenet::cli
