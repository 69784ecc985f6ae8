#include <nlohmann/json.hpp>

#include "reducenet/collapse.h"
#include "reducenet/data.h"
#include "reducenet/formats.h"
#include "reducenet/verify.h"
#include "train/folder_lock.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

std::vector<nlohmann::json> lines_of(const fs::path& path) {
  std::ifstream in(path);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST_F(Run, WritesEverythingItPromises) {
  const Recipe recipe = small();
  const Result result = run(recipe, {.out = out("a")});
  EXPECT_EQ(result.epochs, 3);
  EXPECT_EQ(result.history.size(), 3U);
  EXPECT_GE(result.top1, 0);

  const Graph model = load(out("a") / "model.safetensors");
  EXPECT_TRUE(std::ranges::none_of(model.nodes, [](const Node& n) { return std::holds_alternative<Fade>(n.op); }));
  EXPECT_EQ(class_names(model.metadata).size(), 10U);
  EXPECT_EQ(Preprocessing::from_metadata(model.metadata)->height, 16);
  EXPECT_EQ(print(parse_recipe(model.metadata.at("recipe"))), print(recipe));
  const Graph checkpoint = load(out("a") / "checkpoint.safetensors");
  EXPECT_TRUE(std::ranges::any_of(checkpoint.nodes, [](const Node& n) { return std::holds_alternative<Fade>(n.op); }));

  const auto metrics = lines_of(out("a") / "metrics.jsonl");
  ASSERT_EQ(metrics.size(), 4U);
  EXPECT_EQ(metrics[2]["epoch"], 3);
  EXPECT_EQ(metrics[2]["lambda"]["max"], 0);
  EXPECT_EQ(metrics[3]["top1"], result.top1);
  EXPECT_EQ(metrics[3]["val_top1"], result.val_top1);
  const auto summary = nlohmann::json::parse(bytes_of(out("a") / "result.json"));
  EXPECT_EQ(summary["epochs"], 3);
  EXPECT_EQ(print(parse_recipe(summary["recipe"].get<std::string>())), print(recipe));
  EXPECT_EQ(std::ranges::count_if(fs::directory_iterator(out("a")),
                                  [](const fs::directory_entry& entry) {
                                    return entry.path().filename().string().starts_with("events.out.tfevents.");
                                  }),
            1);

  // Trained, then collapsed: the same function.
  const Collapsed collapsed = collapse(model, {.target = Target::module, .cost = {}});
  EXPECT_TRUE(verify(model, collapsed.graph).verified);
}

TEST_F(Run, LearnsWhatALinearClassifierCannot) {
  const Recipe recipe = small({"data.path=generated:2048", "data.validation=512", "data.cutout=0", "data.crop=0",
                               "optimizer.ema=0", "optimizer.lr=0.2", "train.epochs=6", "model.widths=8,16"});
  Recipe linear = recipe;
  set(linear, "model.arch=softmax");
  set(linear, "optimizer.lr=0.01");
  const Result deep = run(recipe, {.out = out("deep")}), shallow = run(linear, {.out = out("softmax")});
  EXPECT_LT(deep.history.back().loss, deep.history.front().loss);
  EXPECT_GT(deep.val_top1, shallow.val_top1);
}

TEST_F(Run, InterruptedAndResumedIsTheSameBitForBit) {
  for (const char* algorithm : {"optimizer.algorithm=sgd", "optimizer.algorithm=adamw"}) {
    const Recipe recipe = small({algorithm, "optimizer.lr=0.01"});
    const Result whole = run(recipe, {.out = out("whole")});
    // 412 images in batches of 32: 12 steps an epoch. Inside an epoch, at its end, and right after the fade's end.
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts")}, 5).interrupted);
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts"), .resume = true}, 7).interrupted);
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts"), .resume = true}, 7).interrupted);
    const Result parts = run(recipe, {.out = out("parts"), .resume = true});
    EXPECT_FALSE(parts.interrupted);
    expect_same_tensors(out("whole") / "checkpoint.safetensors", out("parts") / "checkpoint.safetensors");
    expect_same_tensors(out("whole") / "model.safetensors", out("parts") / "model.safetensors");
    EXPECT_EQ(whole.top1, parts.top1);
    EXPECT_EQ(whole.val_top1, parts.val_top1);
    ASSERT_EQ(whole.history.size(), parts.history.size());
    for (size_t i = 0; i < whole.history.size(); ++i) {
      EXPECT_EQ(whole.history[i].loss, parts.history[i].loss);
      EXPECT_EQ(whole.history[i].accuracy, parts.history[i].accuracy);
      EXPECT_EQ(whole.history[i].val_top1, parts.history[i].val_top1);
      EXPECT_EQ(whole.history[i].fade.mean, parts.history[i].fade.mean);
    }
  }
}

TEST_F(Run, AChoiceOfSurvivorsCanBeInterrupted) {
  for (const char* by : {"select.by=sensitivity", "select.by=dp", "select.by=learned"}) {
    for (const char* start : {"fade.start=0.25", "fade.start=0.3334"}) {  // inside the first epoch, and at its end
      const Recipe recipe = small({by, start, "model.fades=[]", "model.arch=plain", "select.count=1",
                                   "select.images=32", "select.steps=4", "fade.end=0.7", "optimizer.lr=0.01"});
      const Result whole = run(recipe, {.out = out("whole")});
      std::atomic<bool> stop = false;
      Progress last;
      const auto stop_in_choice = [&](const Progress& p) {
        if (p.stage.empty() || p.step == 0) return;
        last = p;
        stop = true;
      };
      EXPECT_TRUE(run(recipe, {.out = out("parts"), .on_step = stop_in_choice, .stop = &stop}).interrupted);
      EXPECT_EQ(last.step, 1);
      EXPECT_GT(last.steps, 1);
      const Result parts = run(recipe, {.out = out("parts"), .resume = true});
      expect_same_tensors(out("whole") / "model.safetensors", out("parts") / "model.safetensors");
      EXPECT_EQ(bytes_of(out("whole") / "survivors.json"), bytes_of(out("parts") / "survivors.json"));
      EXPECT_EQ(whole.history.size(), parts.history.size());
      fs::remove_all(out("whole"));
      fs::remove_all(out("parts"));
    }
  }
}

TEST_F(Run, SeedsDecide) {
  const Result a = run(small({"train.epochs=1"}), {.out = out("a")});
  const Result b = run(small({"train.epochs=1"}), {.out = out("b")});
  const Result c = run(small({"train.epochs=1", "train.seed=1"}), {.out = out("c")});
  expect_same_tensors(out("a") / "model.safetensors", out("b") / "model.safetensors");
  EXPECT_NE(a.history[0].loss, c.history[0].loss);
}

TEST_F(Run, WithoutAFadeTheNetworkStaysDeep) {
  const auto activations = [&](const char* start, const char* control) {
    run(small({"model.arch=reduce6", "train.epochs=1", start, control}), {.out = out(start) / control});
    return count_nonlinear(load(out(start) / control / "model.safetensors"));
  };
  const int64_t settled = activations("fade.start=0", "fade.control=schedule");
  for (const char* control : {"fade.control=schedule", "fade.control=loss", "fade.control=gate"}) {
    EXPECT_EQ(activations("fade.start=1", control), settled + 2) << control;
  }
}

TEST_F(Run, WarmStartTakesWhatAgrees) {
  run(small({"train.epochs=1"}), {.out = out("a")});
  std::string message;
  const auto listen = [&](const std::string& text) { message = text; };
  // Nothing moves: what comes out is what was taken.
  run(small({"train.epochs=1", "optimizer.lr=0", "optimizer.ema=0", "train.batch_norm_batches=0"}),
      {.out = out("b"), .from = out("a") / "model.safetensors", .on_message = listen});
  const Graph a = load(out("a") / "model.safetensors"), b = load(out("b") / "model.safetensors");
  int64_t weights = 0;
  for (const Value& value : a.values) {
    if (!value.constant || value.constant->shape().size() < 2) continue;
    EXPECT_TRUE(*value.constant == *b.constant(b.find_value(value.name))) << value.name;
    ++weights;
  }
  EXPECT_GT(weights, 4);
  expect_contains(message, "tensors taken from");
  const auto [kind, text] = failure(small({"model.arch=softmax", "model.classes=12"}),
                                    {.out = out("c"), .from = out("a") / "model.safetensors"});
  EXPECT_EQ(kind, ErrorKind::bad_input);
  expect_contains(text, "no tensor agrees");
}

TEST_F(Run, StopsWhenTheLossIsNotFinite) {
  const auto [kind, text] = failure(small({"optimizer.lr=1e18", "optimizer.warmup=0"}), {.out = out("a")});
  EXPECT_EQ(kind, ErrorKind::check_failed);
  expect_contains(text, "epoch 1, step ");
  EXPECT_EQ(text.find("optimizer.clip"), text.npos);
  const std::string advice = failure(small({"model.arch=softmax", "optimizer.lr=1e18", "optimizer.momentum=0.999",
                                            "train.epochs=3", "optimizer.warmup=0"}),
                                     {.out = out("b")})
                                 .second;
  expect_contains(advice, "without batch normalisation, lower the learning rate or set optimizer.clip");
  const NamedTensors kept = read_safetensors(out("a") / "checkpoint.safetensors");
  for (const auto& [name, tensor] : kept.tensors) {
    if (!is_float(tensor.dtype())) continue;
    EXPECT_TRUE(std::ranges::all_of(tensor.to_floats(), [](float x) { return std::isfinite(x); })) << name;
  }
}

TEST_F(Run, RefusesCheckpointsThatDoNotFit) {
  run_steps(small(), {.out = out("a")}, 2);
  const fs::path checkpoint = out("a") / "checkpoint.safetensors";
  const auto resume = [&](const Recipe& recipe) { return failure(recipe, {.out = out("a"), .resume = true}); };

  const auto [wider, wider_text] = resume(small({"model.widths=6,8"}));
  EXPECT_EQ(wider, ErrorKind::bad_input);
  expect_contains(wider_text, "another architecture: tensor '");
  expect_contains(wider_text, "not 6x3x3x3");
  const auto [deeper, deeper_text] = resume(small({"model.modules=2"}));
  EXPECT_EQ(deeper, ErrorKind::bad_input);
  expect_contains(deeper_text, "is missing");
  const auto [shallower, shallower_text] = resume(small({"model.branches="}));
  EXPECT_EQ(shallower, ErrorKind::bad_input);
  expect_contains(shallower_text, "has no counterpart");
  const auto [other, other_text] = resume(small({"optimizer.lr=0.2"}));
  EXPECT_EQ(other, ErrorKind::usage);
  expect_contains(other_text, "[optimizer] lr = 0.1, now lr = 0.2");

  const std::string whole = bytes_of(checkpoint);
  std::ofstream(checkpoint, std::ios::binary) << whole.substr(0, whole.size() / 2);
  EXPECT_EQ(resume(small()).first, ErrorKind::bad_input);
  run(small({"train.epochs=1"}), {.out = out("b")});
  fs::copy_file(out("b") / "model.safetensors", checkpoint, fs::copy_options::overwrite_existing);
  expect_contains(resume(small()).second, "no checkpoint of a run");
}

TEST_F(Run, RefusesWhatCannotWork) {
  EXPECT_EQ(failure(small(), {.out = out("nothing"), .resume = true}).first, ErrorKind::io);
  EXPECT_EQ(failure(small({"data.path=/nowhere"}), {.out = out("a")}).first, ErrorKind::io);
  EXPECT_EQ(failure(small({"data.path="}), {.out = out("a")}).first, ErrorKind::usage);
  EXPECT_EQ(failure(small({"data.validation=512"}), {.out = out("a")}).first, ErrorKind::usage);
  EXPECT_EQ(failure(small({"model.arch=reduce21"}), {.out = out("a")}).first, ErrorKind::usage);
  EXPECT_EQ(failure(small({"model.classes=3"}), {.out = out("a")}).first, ErrorKind::usage);
  EXPECT_EQ(failure(small({"fade.start=0.8"}), {.out = out("a")}).first, ErrorKind::usage);
  for (const char* begins : {"distill.teacher=self", "select.by=uniform"}) {
    const auto [kind, text] = failure(small({"fade.start=1", "select.count=1", begins}), {.out = out("a")});
    EXPECT_EQ(kind, ErrorKind::usage);
    expect_contains(text, "it never does");
  }
  // Before any image is read.
  const auto [gateless, text] =
      failure(small({"data.path=/nowhere", "fade.start=0.5", "select.count=1", "select.by=usage"}), {.out = out("a")});
  EXPECT_EQ(gateless, ErrorKind::usage);
  expect_contains(text, "has no gated blocks");
  EXPECT_EQ(failure(small(), {.out = out("a"), .device = "abacus"}).first, ErrorKind::usage);
  EXPECT_EQ(failure(small(), {.out = "/proc/nowhere"}).first, ErrorKind::io);
}

TEST_F(Run, TwoDoNotShareAFolder) {
  run(small(), {.out = out("a")});
  const std::string before = bytes_of(out("a") / "metrics.jsonl");
  {
    const FolderLock other(out("a"));
    for (const bool resume : {false, true}) {
      const auto [kind, text] = failure(small(), {.out = out("a"), .resume = resume});
      EXPECT_EQ(kind, ErrorKind::io);
      EXPECT_NE(text.find("another run"), std::string::npos) << text;
    }
    EXPECT_EQ(bytes_of(out("a") / "metrics.jsonl"), before);
  }
  run(small(), {.out = out("a"), .resume = true});
}

// Two classes of dark images; the file of the test images ends early.
TEST_F(Run, TestImagesThatCannotBeReadAreFoundBeforeTraining) {
  const auto write_idx = [&](const char* name, std::vector<uint8_t> sizes, size_t bytes) {
    std::string text{0, 0, 8, static_cast<char>(sizes.size())};
    for (const uint8_t size : sizes) text += {0, 0, 0, static_cast<char>(size)};
    for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(i % 2);
    fs::create_directories(out("data"));
    std::ofstream(out("data") / name, std::ios::binary) << text;
  };
  write_idx("train-images-idx3-ubyte", {40, 16, 16}, 40 * 256);
  write_idx("train-labels-idx1-ubyte", {40}, 40);
  write_idx("t10k-images-idx3-ubyte", {4, 16, 16}, 4 * 256 - 1);
  write_idx("t10k-labels-idx1-ubyte", {4}, 4);
  const std::string path = "data.path=" + out("data").string();
  const Recipe recipe = small({path.c_str(), "data.validation=4", "model.height=0", "model.width=0"});
  const auto [kind, text] = failure(recipe, {.out = out("a")});
  EXPECT_EQ(kind, ErrorKind::bad_input);
  expect_contains(text, "t10k-images-idx3-ubyte");
  EXPECT_FALSE(fs::exists(out("a")));
  write_idx("t10k-images-idx3-ubyte", {4, 16, 16}, 4 * 256);
  EXPECT_EQ(run(recipe, {.out = out("a")}).epochs, 3);
}

}  // namespace
}  // namespace reducenet::train
