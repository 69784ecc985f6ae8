#include "train/distill.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "train/graphs.h"
#include "train/head.h"
#include "train/open_batch.h"

namespace reducenet::train {
namespace {

/// The last value of each resolution that the network makes.
std::map<std::pair<int64_t, int64_t>, ValueId> resolution_ends(const Network& network) {
  const Graph graph = network.graph();
  std::map<std::pair<int64_t, int64_t>, ValueId> ends;
  for (const Node& node : graph.nodes) {
    const ValueId id = node.outputs.front();
    const auto& shape = graph[id].shape;
    if (!shape || shape->size() != 4 || (*shape)[2] * (*shape)[3] <= 1 || !network.makes(id)) continue;
    ends[{(*shape)[2], (*shape)[3]}] = id;
  }
  return ends;
}

/// Q: [N,C,H,W] → [N, H·W].
at::Tensor attention(const at::Tensor& features) {
  const at::Tensor map = features.to(at::kFloat).square().sum(1).flatten(1);
  return map / map.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
}

bool same(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](double x, double y) { return std::abs(x - y) < 1e-6; });
}

}  // namespace

Teacher::Teacher(const Graph& graph, at::Device device, bool collapsed)
    : network_(std::make_unique<Network>(
          collapsed ? collapse(conclude(graph), {.target = Target::module}).graph : graph, NetworkOptions{}, device)) {
  for (const auto& [name, tensor] : network_->state()) at::Tensor(tensor).set_requires_grad(false);
}

at::Tensor Teacher::scores(const at::Tensor& pixels) {
  const c10::AutoGradMode no_grad(false);
  return network_->forward(pixels, false).to(at::kFloat);
}

void Teacher::pair(Network& student) {
  const auto ours = resolution_ends(student), theirs = resolution_ends(*network_);
  std::vector<ValueId> watched, wanted;
  for (const auto& [size, id] : ours) {
    const auto found = theirs.find(size);
    if (found == theirs.end()) continue;
    watched.push_back(id);
    wanted.push_back(found->second);
  }
  if (watched.empty()) {
    throw Error(ErrorKind::usage, "distill.hints: student and teacher have no resolution in common");
  }
  student.watch(watched);
  network_->watch(wanted);
}

at::Tensor Teacher::hint_loss(const Network& student) const {
  at::Tensor sum;
  const auto& theirs = network_->watched();
  for (size_t i = 0; i < theirs.size(); ++i) {
    const at::Tensor term = (attention(student.watched()[i]) - attention(theirs[i])).square().sum(1).mean();
    sum = sum.defined() ? sum + term : term;
  }
  return sum / static_cast<double>(theirs.size());
}

at::Tensor distillation_loss(const at::Tensor& student, const at::Tensor& teacher, double temperature) {
  const at::Tensor target = at::log_softmax(teacher / temperature, 1);
  const at::Tensor own = at::log_softmax(student / temperature, 1);
  return (target.exp() * (target - own)).sum(1).mean() * (temperature * temperature);
}

Graph load_teacher(const std::filesystem::path& path, const Graph& student) {
  Graph graph = load(path);
  score_by_logits(graph);
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::usage, "distill.teacher " + path.string() + ": " + why);
  };
  const auto theirs = Preprocessing::from_metadata(graph.metadata),
             ours = Preprocessing::from_metadata(student.metadata);
  if (theirs && ours &&
      (theirs->height != ours->height || theirs->width != ours->width || theirs->channels != ours->channels ||
       !same(theirs->mean, ours->mean) || !same(theirs->std, ours->std))) {
    refuse("it sees images of another size, or normalised differently");
  }
  const auto names = class_names(graph.metadata);
  if (!names.empty() && names != class_names(student.metadata)) refuse("it names other classes");
  const auto& mine = student[student.outputs.front()].shape;
  const auto& its = graph[graph.outputs.front()].shape;
  if (mine && its && mine->back() != its->back()) refuse("it has another number of classes");
  const auto& images = student[student.inputs.front()].shape;
  const auto input = graph[graph.inputs.front()].shape;
  if (!images || !input) return graph;
  const Shape size(images->begin() + 1, images->end());
  const auto fits = [](int64_t its_size, int64_t ours) { return its_size <= 0 || its_size == ours; };
  if (!std::equal(input->begin() + 1, input->end(), size.begin(), size.end(), fits)) {
    refuse("its input is " + to_string(*input));
  }
  if (input->front() > 0) {
    try {
      open_batch(graph, size);
      check_images_apart(graph, size);
    } catch (const Error& error) {
      refuse(error.what());
    }
  }
  return graph;
}

}  // namespace reducenet::train
