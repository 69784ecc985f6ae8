#include "train/network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "../fades/fades.h"
#include "reducenet/error.h"
#include "train/device.h"
#include "train/fades/fades.h"
#include "train/fused.h"
#include "train/gates.h"
#include "train/graphs.h"
#include "train/loader.h"
#include "train/ops.h"

namespace reducenet::train {

at::Tensor to_torch(const Tensor& constant) {
  const bool integer = !is_float(constant.dtype());
  at::Tensor tensor = at::empty(constant.shape(), integer ? at::kLong : at::kFloat);
  if (integer) {
    std::ranges::copy(constant.to_ints(), tensor.data_ptr<int64_t>());
  } else {
    std::ranges::copy(constant.to_floats(), tensor.data_ptr<float>());
  }
  return tensor;
}

Tensor from_torch(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
  return Tensor::of(plain.sizes().vec(), std::span(plain.data_ptr<float>(), static_cast<size_t>(plain.numel())));
}

ValueId add_constant(Graph& graph, const std::string& name, const at::Tensor& tensor) {
  return graph.add_constant(name, from_torch(tensor.to(at::kFloat)));
}

/// Values while a forward runs. A value made for several readers may be one tensor for each.
struct Network::Store {
  std::vector<std::vector<at::Tensor>> values;  // by value index
  std::vector<size_t> readers;                  // yet to come

  at::Tensor take(ValueId id) {
    if (!id) return {};
    std::vector<at::Tensor>& copies = values[static_cast<size_t>(id.index)];
    const bool last = --readers[static_cast<size_t>(id.index)] == 0;
    if (!last && copies.size() == 1) return copies.back();
    at::Tensor taken = std::move(copies.back());
    copies.pop_back();
    return taken;
  }
};

Network::Network(const Graph& graph, const NetworkOptions& options, at::Device device)
    : graph_(graph),
      constants_(graph.values.size()),
      roles_(graph.values.size(), Role::constant),
      readers_(graph.values.size()),
      format_(options.channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous),
      device_(device) {
  if (graph.inputs.empty() || graph.outputs.empty()) {
    throw Error(ErrorKind::unsupported, "graph '" + graph.name + "' has no input or no output to train");
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    check_trainable(graph, graph.nodes[i]);
    if (std::holds_alternative<Fade>(graph.nodes[i].op)) fades_.push_back(i);
  }
  load_constants(options);
  fused_ = options.fused && options.channels_last && device.is_cpu();
  steps_ = fused_ ? fused_steps(graph_) : plain_steps(graph_);
  find_readers();
}

bool Network::is_ignored(const Node& node, size_t input) const {
  const auto* const fade = std::get_if<Fade>(&node.op);
  return fade && fade->lambda == 0 && node.inputs.size() == 2 && input != survivor(find_fade(fade->kind));
}

void Network::find_readers() {
  std::ranges::fill(readers_, 0);
  live_.assign(steps_.size(), false);
  const auto read = [&](ValueId id) {
    if (id) ++readers_[static_cast<size_t>(id.index)];
  };
  read(graph_.outputs.front());
  for (const Watched& watched : watched_) std::ranges::for_each(watched.values, read);
  for (size_t i = steps_.size(); i-- > 0;) {
    const Step& step = steps_[i];
    const Node& node = graph_[step.node];
    live_[i] = readers_[static_cast<size_t>(node.outputs.front().index)] > 0;
    if (!live_[i]) continue;
    for (size_t k = 0; step.branches.empty() && k < node.inputs.size(); ++k) {
      if (!is_ignored(node, k)) read(node.inputs[k]);
    }
    for (const NodeId branch : step.branches) std::ranges::for_each(graph_[branch].inputs, read);
    std::ranges::for_each(step.residuals, read);
  }
}

void Network::load_constants(const NetworkOptions& options) {
  const auto assign = [&](const Node& node, size_t input, Role role) {
    if (input >= node.inputs.size() || !graph_.constant(node.inputs[input])) return;
    Role& known = roles_[static_cast<size_t>(node.inputs[input].index)];
    if (known == Role::constant || role == Role::weight) known = role;
  };
  const std::vector<bool> in_weight_space = reads_constants_alone(graph_);
  for (size_t at = 0; at < graph_.nodes.size(); ++at) {
    const Node& node = graph_.nodes[at];
    if (node.doc == kFixed) continue;
    const bool weight_space = in_weight_space[at];
    for (size_t i = 0; weight_space && i < node.inputs.size(); ++i) {
      const Tensor* const constant = graph_.constant(node.inputs[i]);
      if (constant == nullptr || !is_float(constant->dtype())) continue;
      const bool one_a_channel = constant->shape().empty() || constant->size() == constant->shape()[0];
      assign(node, i, one_a_channel ? Role::parameter : Role::weight);
    }
    if (weight_space) continue;
    const Op& op = node.op;
    const auto* binary = std::get_if<Binary>(&op);
    if (std::holds_alternative<Conv2d>(op) || std::holds_alternative<ConvTranspose2d>(op)) {
      assign(node, 1, Role::weight);
      assign(node, 2, Role::parameter);
    } else if (std::holds_alternative<Gemm>(op) || std::holds_alternative<MatMul>(op)) {
      assign(node, 0, Role::weight);
      assign(node, 1, Role::weight);
      assign(node, 2, Role::parameter);
    } else if (std::holds_alternative<BatchNorm>(op)) {
      assign(node, 1, Role::parameter);
      assign(node, 2, Role::parameter);
      assign(node, 3, Role::mean);
      assign(node, 4, Role::variance);
    } else if (std::holds_alternative<Normalize>(op)) {
      assign(node, 1, Role::parameter);
      assign(node, 2, Role::parameter);
    } else if (std::holds_alternative<PRelu>(op)) {
      assign(node, 1, Role::parameter);
    } else if (std::holds_alternative<Fade>(op)) {
      assign(node, 0, Role::parameter);
      assign(node, 1, Role::parameter);
    } else if (binary && (binary->kind == Binary::Kind::add || binary->kind == Binary::Kind::mul)) {
      // A scalar belongs to a formula: the epsilon of a norm written out, a GELU's 0.5.
      for (size_t i = 0; i < 2; ++i) {
        const Tensor* const constant = graph_.constant(node.inputs[i]);
        if (constant != nullptr && !constant->shape().empty()) assign(node, i, Role::parameter);
      }
    }
  }
  for (size_t i = 0; i < constants_.size(); ++i) {
    const Value& value = graph_.values[i];
    if (!value.constant) continue;
    if (roles_[i] != Role::constant && value.constant->dtype() != DType::f32) {
      if (is_float(value.constant->dtype())) {
        throw Error(ErrorKind::unsupported, "'" + value.name + "' is " +
                                                std::string(to_string(value.constant->dtype())) +
                                                "; only float32 parameters are trained");
      }
      roles_[i] = Role::constant;
    }
    at::Tensor tensor = to_torch(*value.constant).to(device_);
    if (options.channels_last && tensor.dim() == 4) tensor = tensor.contiguous(format_);
    const bool trained = roles_[i] == Role::weight || roles_[i] == Role::parameter;
    constants_[i] = tensor.set_requires_grad(trained);
  }
}

at::Tensor Network::forward(const at::Tensor& x, bool training) {
  Store store{std::vector<std::vector<at::Tensor>>(constants_.size()), readers_};
  for (size_t i = 0; i < constants_.size(); ++i) {
    if (constants_[i].defined()) store.values[i] = {constants_[i]};
  }
  const at::Tensor input = x.to(device_, at::kFloat);
  store.values[static_cast<size_t>(graph_.inputs.front().index)] = {x.dim() == 4 ? input.contiguous(format_) : input};
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!live_[i]) continue;
    const Step& step = steps_[i];
    try {
      run(step, store, training);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      const Node& node = graph_[step.node];
      throw Error(ErrorKind::bad_input, "node '" + node.name + "' (" + name_of(node.op) + "): " + message_of(error));
    }
  }
  for (Watched& watched : watched_) {
    watched.tensors.clear();
    for (const ValueId id : watched.values) watched.tensors.push_back(store.take(id));
  }
  return store.take(graph_.outputs.front());
}

bool Network::makes(ValueId value) const {
  return std::ranges::any_of(steps_, [&](const Step& step) { return graph_[step.node].outputs.front() == value; });
}

void Network::watch(std::vector<ValueId> values, Watcher by) {
  for (const ValueId id : values) {
    if (!id || !makes(id)) throw Error(ErrorKind::usage, "a value to be watched is not made by the network");
  }
  watched_[static_cast<size_t>(by)].values = std::move(values);
  find_readers();
}

void Network::run(const Step& step, Store& store, bool training) const {
  const Node& node = graph_[step.node];
  const auto output = static_cast<size_t>(node.outputs.front().index);
  if (step.branches.empty()) {
    std::vector<at::Tensor> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      inputs.push_back(is_ignored(node, i) ? at::Tensor() : store.take(node.inputs[i]));
    }
    const auto* const fade = std::get_if<Fade>(&node.op);
    if (fade && fade->lambda != 0 && !masks_.empty() && masks_[static_cast<size_t>(step.node.index)].defined()) {
      const auto masked = find_fade_forward(fade->kind)->masked;
      store.values[output] = {masked(*fade, inputs, masks_[static_cast<size_t>(step.node.index)])};
      return;
    }
    std::optional<uint64_t> noise;
    if (noise_) noise = random_bits(*noise_, 0, static_cast<uint64_t>(step.node.index));
    if (noise && !sampled_.empty() && sampled_[static_cast<size_t>(step.node.index)]) {
      store.values[output] = {drawn_sign(inputs.front(), temperature_, *noise)};
      return;
    }
    store.values[output] = {apply_node(graph_, node, inputs, training, momentum_, noise)};
    return;
  }
  NormSum sum;
  for (const NodeId id : step.branches) {
    const Node& norm = graph_[id];
    const auto& op = std::get<BatchNorm>(norm.op);
    std::array<at::Tensor, 5> in;
    std::ranges::transform(norm.inputs, in.begin(), [&](ValueId input) { return store.take(input); });
    sum.branches.push_back({in[0], in[1], in[2], in[3], in[4], op.epsilon, momentum_.value_or(op.momentum)});
  }
  for (const ValueId id : step.residuals) sum.residuals.push_back(store.take(id));
  if (step.activation) sum.slope = *negative_slope(graph_[step.activation].op);
  store.values[output] = norm_sum(std::move(sum), training, std::max<size_t>(1, readers_[output]));
}

std::vector<at::Tensor> Network::with_role(Role role) const {
  std::vector<at::Tensor> found;
  for (size_t i = 0; i < constants_.size(); ++i) {
    if (roles_[i] == role && constants_[i].defined()) found.push_back(constants_[i]);
  }
  return found;
}

std::vector<at::Tensor> Network::decayed_parameters() const {
  return with_role(Role::weight);
}
std::vector<at::Tensor> Network::undecayed_parameters() const {
  return with_role(Role::parameter);
}

std::vector<std::pair<std::string, at::Tensor>> Network::state() const {
  std::vector<std::pair<std::string, at::Tensor>> found;
  for (size_t i = 0; i < constants_.size(); ++i) {
    if (roles_[i] != Role::constant) found.emplace_back(graph_.values[i].name, constants_[i]);
  }
  return found;
}

double Network::fade(size_t index) const {
  return std::get<Fade>(graph_.nodes[fades_.at(index)].op).lambda;
}

bool Network::is_scheduled(size_t index) const {
  return find_fade(std::get<Fade>(graph_.nodes[fades_.at(index)].op).kind).scheduled;
}

void Network::set_fade(size_t index, double lambda) {
  if (!(lambda >= 0 && lambda <= 1))
    throw Error(ErrorKind::usage, "λ = " + std::to_string(lambda) + " is not in [0, 1]");
  auto& fade = std::get<Fade>(graph_.nodes[fades_.at(index)].op);
  const bool ends = (fade.lambda == 0) != (lambda == 0);
  fade.lambda = lambda;
  if (ends) find_readers();
}

void Network::set_mask(size_t index, at::Tensor mask) {
  if (fused_) throw Error(ErrorKind::usage, "masks need a network without fused steps");
  const Node& node = graph_.nodes[fades_.at(index)];
  if (find_fade_forward(std::get<Fade>(node.op).kind)->masked == nullptr) {
    throw Error(
        ErrorKind::unsupported,
        "node '" + node.name + "' (Fade): it draws at random, and its λ cannot lie on the device (train.recorded)");
  }
  if (masks_.empty()) masks_.resize(graph_.nodes.size());
  masks_[fades_.at(index)] = std::move(mask);
}

void Network::sample(const std::vector<NodeId>& signs, double temperature) {
  temperature_ = temperature;
  sampled_.assign(graph_.nodes.size(), false);
  for (const NodeId id : signs) sampled_[static_cast<size_t>(id.index)] = true;
}

void Network::reset_statistics() {
  for (const at::Tensor& mean : with_role(Role::mean)) mean.zero_();
  for (const at::Tensor& variance : with_role(Role::variance)) variance.fill_(1);
}

Graph Network::graph() const {
  Graph current = graph_;
  for (size_t i = 0; i < constants_.size(); ++i) {
    if (roles_[i] != Role::constant) current.values[i].constant = from_torch(constants_[i]);
  }
  return current;
}

}  // namespace reducenet::train
