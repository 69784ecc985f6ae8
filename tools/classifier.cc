#include "classifier.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "cli.h"
#include "progress.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"

namespace reducenet::cli {
namespace {

/// Label → class of the model.
std::vector<int64_t> class_of_label(const Classifier& classifier, const ImageSet& images) {
  const auto& names = classifier.class_names();
  const int64_t labels = std::max<int64_t>(static_cast<int64_t>(images.class_names.size()),
                                           images.count() > 0 ? 1 + *std::ranges::max_element(images.labels) : 0);
  std::vector<int64_t> map(static_cast<size_t>(labels));
  std::iota(map.begin(), map.end(), 0);
  if (!names.empty() && !images.class_names.empty()) {
    for (size_t label = 0; label < images.class_names.size(); ++label) {
      const auto found = std::ranges::find(names, images.class_names[label]);
      if (found == names.end()) {
        throw Error(ErrorKind::bad_input, fmt::format("class \"{}\" of the data is none of the model's: {}",
                                                      images.class_names[label], fmt::join(names, ", ")));
      }
      map[label] = found - names.begin();
    }
  } else if (labels > classifier.classes()) {
    throw Error(ErrorKind::bad_input,
                fmt::format("the data have {} classes, the model {}", labels, classifier.classes()));
  }
  return map;
}

}  // namespace

Preprocessing preprocessing_of(const Graph& graph) {
  if (auto known = Preprocessing::from_metadata(graph.metadata)) return *known;
  const Value& input = graph[graph.inputs.at(0)];
  if (!input.shape || input.shape->size() != 4 ||
      std::any_of(input.shape->begin() + 1, input.shape->end(), [](int64_t d) { return d <= 0; })) {
    throw Error(
        ErrorKind::unsupported,
        fmt::format(
            "input \"{}\" is no image of known size, and the model's metadata do not say how to make it (export "
            "--mean … --std … --size HxW writes it into the model)",
            input.name));
  }
  const Shape& shape = *input.shape;
  warn(
      "the model does not say how its images are normalised: using pixels in [0, 1] (export --mean … --std … writes it "
      "into the model)");
  const auto channels = static_cast<size_t>(shape[1]);
  return {.height = shape[2],
          .width = shape[3],
          .channels = shape[1],
          .mean = std::vector<double>(channels, 0),
          .std = std::vector<double>(channels, 1)};
}

ImageSet load_for(const Preprocessing& preprocessing, const std::string& path, Split split, bool skip_corrupt) {
  Progress bar("reading images");
  ImageSet images = load_images(path, split,
                                {.height = preprocessing.height,
                                 .width = preprocessing.width,
                                 .channels = preprocessing.channels,
                                 .skip_corrupt = skip_corrupt,
                                 .threads = default_threads(),
                                 .cache = {},
                                 .progress = [&bar](int64_t done, int64_t total) { bar.update(done, total); }});
  if (images.skipped > 0) warn(fmt::format("{}: {} corrupt files left out", path, images.skipped));
  return images;
}

int64_t batch_for(const Graph& graph, int64_t wanted) {
  const Value& input = graph[graph.inputs.at(0)];
  const bool fixed = input.shape && !input.shape->empty() && input.shape->front() > 0;
  return fixed ? input.shape->front() : wanted;
}

std::vector<std::vector<float>> batches_of(const Preprocessing& preprocessing, const ImageSet& images,
                                           std::span<const int64_t> which, int64_t batch) {
  const auto all = static_cast<int64_t>(which.size()), size = images.image_bytes();
  std::vector<std::vector<float>> batches;
  for (int64_t first = 0; first < all; first += batch) {
    std::vector<float>& pixels = batches.emplace_back(static_cast<size_t>(batch * size));
    for (int64_t i = 0; i < batch; ++i) {
      preprocessing.apply(images.image(which[static_cast<size_t>((first + i) % all)]), pixels.data() + i * size);
    }
  }
  return batches;
}

std::vector<Tensor> real_inputs(const Graph& graph, const ImageSet& images, int64_t count) {
  const Preprocessing preprocessing = preprocessing_of(graph);
  std::vector<int64_t> which(static_cast<size_t>(std::min(count, images.count())));
  std::iota(which.begin(), which.end(), 0);
  const int64_t batch = batch_for(graph, static_cast<int64_t>(which.size()));
  std::vector<Tensor> inputs;
  for (const std::vector<float>& pixels : batches_of(preprocessing, images, which, batch)) {
    inputs.push_back(Tensor::of({batch, preprocessing.channels, preprocessing.height, preprocessing.width}, pixels));
  }
  return inputs;
}

int default_threads() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

Classifier::Classifier(const Graph& graph, int64_t batch, int threads, DType dtype)
    : batch_(batch_for(graph, batch)),
      preprocessing_(preprocessing_of(graph)),
      names_(reducenet::class_names(graph.metadata)),
      plan_(settle(graph), {.batch = batch_, .threads = threads, .dtype = dtype, .narrow_everywhere = true}),
      classes_(plan_.output_size() / batch_),
      softmax_(!graph.nodes.empty() && std::holds_alternative<Softmax>(graph.nodes.back().op)),
      input_(static_cast<size_t>(plan_.input_size())),
      output_(static_cast<size_t>(plan_.output_size())) {
  const Preprocessing& p = preprocessing_;
  if (p.channels * p.height * p.width * batch_ != plan_.input_size()) {
    throw Error(ErrorKind::bad_input,
                fmt::format("the model's metadata describe {}x{}x{} images, its input takes {} numbers", p.channels,
                            p.height, p.width, plan_.input_size() / batch_));
  }
  if (!names_.empty() && static_cast<int64_t>(names_.size()) != classes_) {
    throw Error(ErrorKind::bad_input,
                fmt::format("the model names {} classes and has {} outputs", names_.size(), classes_));
  }
}

std::string Classifier::class_name(int64_t index) const {
  return names_.empty() ? std::to_string(index) : names_[static_cast<size_t>(index)];
}

std::span<const float> Classifier::scores(const ImageSet& images, int64_t first, int64_t count) {
  const int64_t size = plan_.input_size() / batch_;
  for (int64_t i = 0; i < count; ++i) preprocessing_.apply(images.image(first + i), input_.data() + i * size);
  plan_.run(input_, output_);
  return std::span(output_).first(static_cast<size_t>(count * classes_));
}

Evaluation evaluate_images(Classifier& classifier, const ImageSet& images,
                           const std::function<void(int64_t, int64_t)>& progress) {
  const auto classes = static_cast<size_t>(classifier.classes());
  const std::vector<int64_t> class_of = class_of_label(classifier, images);
  Evaluation result{.n = images.count(), .confusion = std::vector(classes, std::vector<int64_t>(classes, 0))};
  int64_t first_hits = 0, five_hits = 0;
  for (int64_t first = 0; first < images.count(); first += classifier.batch()) {
    const int64_t count = std::min(classifier.batch(), images.count() - first);
    const std::span<const float> scores = classifier.scores(images, first, count);
    for (int64_t i = 0; i < count; ++i) {
      const auto row = scores.subspan(static_cast<size_t>(i) * classes, classes);
      const auto label =
          static_cast<size_t>(class_of[static_cast<size_t>(images.labels[static_cast<size_t>(first + i)])]);
      const auto better = std::ranges::count_if(row, [&](float score) { return score > row[label]; });
      const auto prediction = static_cast<size_t>(std::ranges::max_element(row) - row.begin());
      first_hits += prediction == label;
      five_hits += better < 5;
      ++result.confusion[label][prediction];
    }
    if (progress) progress(first + count, images.count());
  }
  const double n = static_cast<double>(std::max<int64_t>(1, images.count()));
  result.top1 = static_cast<double>(first_hits) / n;
  result.top5 = static_cast<double>(five_hits) / n;
  return result;
}

}  // namespace reducenet::cli
