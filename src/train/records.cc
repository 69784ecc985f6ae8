#include "train/records.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "train/select/select.h"

namespace reducenet::train {
namespace {

using Json = nlohmann::ordered_json;

/// The figure, or null where it was not measured.
Json measured(double value) {
  return value < 0 ? Json() : Json(value);
}
double measured(const Json& value) {
  return value.is_null() ? -1 : value.get<double>();
}

Json to_json(const EpochMetrics& m) {
  Json json = {{"epoch", m.epoch},
               {"loss", m.loss},
               {"accuracy", m.accuracy},
               {"val_top1", measured(m.val_top1)},
               {"lambda", {{"min", m.fade.min}, {"mean", m.fade.mean}, {"max", m.fade.max}}},
               {"lr", m.lr},
               {"images_per_s", m.images_per_s},
               {"seconds", m.seconds}};
  if (!m.note.empty()) json["note"] = m.note;
  return json;
}

EpochMetrics from_json(const Json& j) {
  const Json& fade = j.at("lambda");
  return {j.at("epoch"),
          j.at("loss"),
          j.at("accuracy"),
          measured(j.at("val_top1")),
          {fade.at("min"), fade.at("mean"), fade.at("max")},
          j.at("lr"),
          j.at("images_per_s"),
          j.at("seconds"),
          j.value("note", "")};
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  write_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace

MetricsFile::MetricsFile(std::filesystem::path path, int64_t epochs) : path_(std::move(path)) {
  std::ifstream in(path_);
  std::string kept;
  for (std::string line; static_cast<int64_t>(history_.size()) < epochs && std::getline(in, line);) {
    try {
      history_.push_back(from_json(Json::parse(line)));
    } catch (const Json::exception& error) {
      throw Error(ErrorKind::bad_input, path_.string() + ": line " + std::to_string(history_.size() + 1) +
                                            " is no record of an epoch: " + error.what());
    }
    kept += line + "\n";
  }
  write_text(path_, kept);
}

void MetricsFile::add(const EpochMetrics& metrics) {
  history_.push_back(metrics);
  append(to_json(metrics).dump());
}

void MetricsFile::finish(const Result& result) {
  const Json line = {{"final", true},
                     {"epochs", result.epochs},
                     {"val_top1", measured(result.val_top1)},
                     {"top1", measured(result.top1)},
                     {"images_per_s", result.images_per_s},
                     {"seconds", result.seconds}};
  append(line.dump());
}

void MetricsFile::append(const std::string& line) {
  std::ofstream out(path_, std::ios::app);
  out << line << '\n' << std::flush;
  if (!out) throw Error(ErrorKind::io, "cannot write " + path_.string());
}

void write_selection(const std::filesystem::path& path, const Recipe::Select& recipe,
                     const std::vector<std::string>& candidates, const Selection& selection) {
  const Selector& selector = selector_of(recipe);
  Json rows = Json::array();
  for (size_t i = 0; i < candidates.size(); ++i) {
    rows.push_back({{"node", candidates[i]},
                    {"survives", static_cast<bool>(selection.survive[i])},
                    {"importance", selection.importance.empty() ? Json() : Json(selection.importance[i])}});
  }
  const Json json = {{"by", selector.name}, {"importance", selector.importance}, {"candidates", rows}};
  write_text(path, json.dump(1) + "\n");
}

void write_result(const std::filesystem::path& path, const Recipe& recipe, const Result& result) {
  const Json json = {{"version", REDUCENET_VERSION},
                     {"recipe", print(recipe)},
                     {"seed", recipe.train.seed},
                     {"epochs", result.epochs},
                     {"val_top1", measured(result.val_top1)},
                     {"top1", measured(result.top1)},
                     {"seconds", result.seconds},
                     {"images_per_s", result.images_per_s},
                     {"machine", {{"cpu", cpu_model()}, {"cores", std::thread::hardware_concurrency()}}}};
  write_text(path, json.dump(1) + "\n");
}

std::filesystem::path keep_former_run(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  if (!fs::exists(folder / "metrics.jsonl")) return {};
  fs::path kept;
  for (int i = 1; fs::exists(kept = folder / ("before-" + std::to_string(i))); ++i) {
  }
  fs::create_directory(kept);
  for (const char* network : {"checkpoint", "model", "teacher", "snapshot"}) {
    const std::string name = std::string(network) + ".safetensors";
    if (fs::exists(folder / name)) fs::copy_file(folder / name, kept / name);
  }
  const std::vector<fs::path> files(fs::directory_iterator(folder), {});
  for (const fs::path& file : files) {
    const std::string name = file.filename().string();
    const bool record = name == "metrics.jsonl" || name == "result.json" || name == "survivors.json";
    if (record || name.starts_with("events.out.tfevents.")) fs::rename(file, kept / name);
  }
  return kept;
}

}  // namespace reducenet::train
