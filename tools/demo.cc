#include "demo.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "classifier.h"
#include "progress.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* fashion_mnist = "/usr/share/datasets/fashion-mnist";

// Equal data, epochs and settings for all. `plain` is the very network that `reduce` deploys as, trained directly.
constexpr Contestant contestants[] = {
    {"reduce", "reduce", "fades its inner activations; one ReLU a module stays", Target::module},
    {"plain", "plain", "control: the deployed network of reduce, trained directly", Target::module},
    {"article", "article", "fades every activation; becomes one affine map", Target::single},
};

struct Options {
  std::string out = "demo", data;
  int64_t epochs = 3, seed = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

train::Recipe recipe_of(const Contestant& contestant, const Options& options) {
  train::Recipe recipe;
  recipe.model.arch = contestant.arch;
  recipe.model.options.modules = 2;
  recipe.model.options.widths = {16, 32, 64};
  recipe.data.path = options.data;
  recipe.data.crop = 2;
  recipe.optimizer.schedule = train::Recipe::Schedule::onecycle;
  recipe.optimizer.warmup = 0.3;
  recipe.train.epochs = options.epochs;
  recipe.train.seed = options.seed;
  recipe.fade.end = 0.7;
  return recipe;
}

/// Trains the first steps of a run, leaves its checkpoint, and returns the seconds that the rest will take.
double start_run(const train::Recipe& recipe, const std::filesystem::path& folder) {
  constexpr int64_t warm_steps = 4, steps = 16;
  std::atomic<bool> stop = false;
  Clock::time_point warm;
  double left = 0;
  train::run(recipe, {.out = folder,
                      .on_step =
                          [&](const train::Progress& progress) {
                            if (progress.step == warm_steps) warm = Clock::now();
                            if (progress.step < steps) return;
                            stop = true;
                            left = seconds_since(warm) / (steps - warm_steps) *
                                   static_cast<double>(progress.steps - progress.step);
                          },
                      .stop = &stop});
  return left;
}

/// The rest of the run, with λ noted at about a hundred of its steps.
void finish_run(const train::Recipe& recipe, Entry& entry) {
  Progress bar(fmt::format("training {}", entry.contestant.name));
  const auto observe = [&](const train::Progress& p) {
    bar.update(p.step, p.steps,
               fmt::format("loss {:.3f}  accuracy {:.3f}  λ {:.2f}  {:.0f} images/s", p.loss, p.accuracy, p.fade.mean,
                           p.images_per_s),
               p.seconds_left);
    if (p.step % std::max<int64_t>(p.steps / 100, 1) != 0) return;
    entry.fade.emplace_back(static_cast<double>(p.step * p.epochs) / static_cast<double>(p.steps), p.fade.mean);
  };
  entry.training = train::run(recipe, {.out = entry.folder, .resume = true, .on_step = observe});
  if (std::ranges::all_of(entry.fade, [](const auto& point) { return point.second == 0; })) entry.fade.clear();
}

Measured measure(Graph graph, const ImageSet& test) {
  Classifier classifier(graph, 32, default_threads());
  Progress bar("evaluating");
  const double top1 =
      evaluate_images(classifier, test, [&bar](int64_t done, int64_t total) { bar.update(done, total); }).top1;
  const Plan single(settle(graph), {.batch = 1, .threads = 1});
  return {std::move(graph), top1, bench(single, 1).median_ms};
}

Entry finish(const Contestant& contestant, const train::Recipe& recipe, const std::filesystem::path& folder,
             const ImageSet& test) {
  Entry entry{.contestant = contestant, .folder = folder};
  finish_run(recipe, entry);
  note(fmt::format("{}: trained in {}", contestant.name, clock_time(entry.training.seconds)));
  const Graph deep = load(folder / "model.safetensors");
  Collapsed collapsed = collapse(deep, {.target = contestant.target});
  entry.certificate = verify(deep, collapsed, {.samples = 4, .real_inputs = real_inputs(deep, test, 8)});
  if (!entry.certificate.verified) {
    throw Error(ErrorKind::check_failed, fmt::format("{}: {}", contestant.name, entry.certificate.why));
  }
  save(collapsed.graph, folder / "collapsed.onnx");
  save(collapsed.graph, folder / "collapsed.safetensors");

  ArchOptions arch = recipe.model.options;
  arch.channels = test.channels;
  arch.height = test.height;
  arch.width = test.width;
  arch.classes = static_cast<int64_t>(test.class_names.size());
  entry.untrained = build(contestant.arch, arch);
  entry.before = measure(deep, test);
  entry.after = measure(std::move(collapsed.graph), test);
  return entry;
}

Result demo(Options options) {
  const Clock::time_point start = Clock::now();
  if (options.data.empty()) options.data = std::filesystem::exists(fashion_mnist) ? fashion_mnist : "generated:20000";
  const std::filesystem::path out = options.out;
  std::filesystem::create_directories(out);

  constexpr double rest_s = 25;  // certificates, evaluation, latencies
  DemoFacts facts{.data = options.data,
                  .command = fmt::format("reducenet demo --data {} --epochs {} --seed {} --out {}", options.data,
                                         options.epochs, options.seed, options.out),
                  .epochs = options.epochs,
                  .estimated_s = rest_s};
  for (const Contestant& contestant : contestants) {
    facts.estimated_s += start_run(recipe_of(contestant, options), out / contestant.name);
  }
  note(fmt::format("demo: {} networks, {} epochs of {} each: about {} min, by the first steps of each",
                   std::size(contestants), options.epochs, options.data, clock_time(facts.estimated_s)));

  const ImageSet test = load_images(options.data, Split::test);
  facts.test_images = test.count();
  std::vector<Entry> entries;
  for (const Contestant& contestant : contestants) {
    entries.push_back(finish(contestant, recipe_of(contestant, options), out / contestant.name, test));
  }
  facts.seconds = seconds_since(start);
  const std::string page = demo_html(entries, facts);
  write_atomically(out / "report.html", std::as_bytes(std::span(page)));
  Result result{demo_json(entries, facts), demo_text(entries, facts)};
  result.json["report"] = (out / "report.html").string();
  result.text += fmt::format("report: {}\n", (out / "report.html").string());
  return result;
}

}  // namespace

Action declare_demo(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--out", options->out, "Folder for everything that is made (demo)");
  app.add_option("--epochs", options->epochs, "Epochs of each network (3)")->check(CLI::PositiveNumber);
  app.add_option("--seed", options->seed, "Of weights and data order (0)")->check(CLI::NonNegativeNumber);
  app.add_option("--data", options->data, "Labelled images (Debian's Fashion-MNIST, or generated ones when absent)");
  return [options] { return demo(*options); };
}

}  // namespace reducenet::cli
