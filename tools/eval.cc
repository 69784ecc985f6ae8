#include <fmt/format.h>

#include "classifier.h"
#include "progress.h"
#include "reducenet/formats.h"
#include "table.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model, data;
  Split split = Split::test;
  int64_t batch = 32;
  int threads = default_threads();
  bool skip_corrupt = false;
};

/// Confusion with labels as rows. Only for as many classes as fit a screen.
std::string confusion_text(const Classifier& classifier, const Evaluation& evaluation) {
  constexpr int64_t most = 20;
  if (classifier.classes() > most) return {};
  std::vector<std::string> header{"label \\ prediction"};
  for (int64_t c = 0; c < classifier.classes(); ++c) header.push_back(classifier.class_name(c));
  Table table(header);
  for (int64_t label = 0; label < classifier.classes(); ++label) {
    std::vector<std::string> row{classifier.class_name(label)};
    for (const int64_t count : evaluation.confusion[static_cast<size_t>(label)]) row.push_back(std::to_string(count));
    table.add(row);
  }
  return table.str();
}

Result eval_model(const Options& options) {
  const Graph graph = load_to_run(options.model);
  Classifier classifier(graph, options.batch, options.threads);
  const ImageSet images = load_for(classifier.preprocessing(), options.data, options.split, options.skip_corrupt);
  Progress bar("evaluating");
  const Evaluation evaluation =
      evaluate_images(classifier, images, [&bar](int64_t done, int64_t total) { bar.update(done, total); });
  Result result;
  result.json = {{"top1", evaluation.top1},
                 {"top5", evaluation.top5},
                 {"n", evaluation.n},
                 {"skipped", images.skipped},
                 {"classes", classifier.class_names()},
                 {"confusion", evaluation.confusion}};
  result.text = fmt::format("top-1 {:.2f} %  top-5 {:.2f} %  of {} images\n", 100 * evaluation.top1,
                            100 * evaluation.top5, evaluation.n) +
                confusion_text(classifier, evaluation);
  return result;
}

}  // namespace

Action declare_eval(CLI::App& app) {
  auto options = std::make_shared<Options>();
  const std::map<std::string, Split> splits{{"train", Split::train}, {"test", Split::test}};
  app.add_option("model", options->model, "Model file (.onnx, .safetensors)")->required();
  app.add_option("--data", options->data,
                 "Labelled images: CIFAR binary, IDX, folders by class, an archive of either, or generated[:COUNT]")
      ->required();
  app.add_option("--split", options->split, "Which part of the data (test)")
      ->transform(CLI::CheckedTransformer(splits))
      ->option_text("train|test");
  app.add_option("--batch", options->batch, "Images at once, where the model leaves that open (32)")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", options->threads, "Threads (all)")->check(CLI::PositiveNumber);
  add_skip_corrupt(app, options->skip_corrupt);
  return [options] { return eval_model(*options); };
}

}  // namespace reducenet::cli
