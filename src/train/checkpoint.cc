#include "train/checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "formats/native.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"

namespace reducenet::train {
namespace {

constexpr const char* kPrefix = "reducenet.run.";

/// Every field by name; `visit` is called with a name and a reference.
template <class State, class Visit>
void visit_fields(State& state, Visit visit) {
  visit("step", state.step);
  visit("average_updates", state.average_updates);
  visit("loss_sum", state.loss_sum);
  visit("correct", state.correct);
  visit("seen", state.seen);
  visit("seconds", state.seconds);
  visit("train_seconds", state.train_seconds);
  visit("epoch_seconds", state.epoch_seconds);
  visit("epoch_train_seconds", state.epoch_train_seconds);
  visit("recipe", state.recipe);
  visit("begun", state.begun);
  visit("survivors", state.survivors);
  visit("control", state.control);
  visit("lambda", state.lambda);
  visit("teacher_updates", state.teacher_updates);
}

void copy_into(at::Tensor target, const Tensor& source) {
  const c10::AutoGradMode no_grad(false);
  target.copy_(to_torch(source));
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Network& network, const NamedTorch& extra,
                     const RunState& state) {
  NamedTensors content = to_native(network.graph());
  for (const auto& [name, tensor] : extra) content.tensors.emplace_back(name, from_torch(tensor));
  visit_fields(state, [&](const char* name, const auto& value) {
    content.metadata[std::string(kPrefix) + name] = fmt::format("{}", value);
  });
  write_safetensors(content, path);
}

RunState load_checkpoint(const std::filesystem::path& path, Network& network, const NamedTorch& extra) {
  const std::string where = path.string() + ": ";
  const auto refuse = [&](const std::string& why) { throw Error(ErrorKind::bad_input, where + why); };
  const NamedTensors content = read_safetensors(path);

  RunState state;
  visit_fields(state, [&]<class T>(const char* name, T& value) {
    const auto found = content.metadata.find(std::string(kPrefix) + name);
    if (found == content.metadata.end())
      refuse("no checkpoint of a run: metadata 'reducenet.run." + std::string(name) + "' is missing");
    if constexpr (std::is_same_v<T, std::string>) {
      value = found->second;
    } else {
      const std::string& text = found->second;
      const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
      if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) {
        refuse("metadata 'reducenet.run." + std::string(name) + "' is no number: '" + text + "'");
      }
    }
  });

  NamedTorch targets = network.state();
  targets.insert(targets.end(), extra.begin(), extra.end());
  std::map<std::string_view, const Tensor*> stored;
  for (const auto& [name, tensor] : content.tensors) stored[name] = &tensor;
  for (const auto& [name, tensor] : targets) {
    const auto found = stored.find(name);
    if (found == stored.end()) refuse("another architecture: tensor '" + name + "' is missing");
    if (found->second->shape() != tensor.sizes().vec() || !is_float(found->second->dtype())) {
      refuse(fmt::format("another architecture: tensor '{}' is {}, not {}", name, to_string(found->second->shape()),
                         to_string(tensor.sizes().vec())));
    }
  }
  std::set<std::string_view> known;
  const NamedTensors own = to_native(network.graph());
  for (const auto& [name, tensor] : own.tensors) known.insert(name);
  for (const auto& [name, tensor] : extra) known.insert(name);
  for (const auto& [name, tensor] : stored) {
    if (!known.contains(name)) refuse("another architecture: tensor '" + std::string(name) + "' has no counterpart");
  }
  for (const auto& [name, tensor] : targets) copy_into(tensor, *stored[name]);
  return state;
}

Graph load_model(const std::filesystem::path& path) {
  Graph graph = load(path);
  std::erase_if(graph.metadata, [](const auto& entry) { return entry.first.starts_with(kPrefix); });
  return graph;
}

int64_t warm_start(const std::filesystem::path& model, Network& network) {
  const Graph graph = load(model);
  int64_t taken = 0;
  for (const auto& [name, tensor] : network.state()) {
    const ValueId id = graph.find_value(name);
    const Tensor* const source = id ? graph.constant(id) : nullptr;
    if (source == nullptr || !is_float(source->dtype()) || source->shape() != tensor.sizes().vec()) continue;
    copy_into(tensor, *source);
    ++taken;
  }
  if (taken == 0) {
    throw Error(ErrorKind::bad_input,
                model.string() + ": no tensor agrees in name and shape with the recipe's network");
  }
  return taken;
}

bool is_finite(const Network& network) {
  return std::ranges::all_of(network.state(), [](const auto& named) {
    return at::isfinite(named.second.detach()).all().template item<bool>();
  });
}

}  // namespace reducenet::train
