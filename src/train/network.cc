#include "train/network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "reducenet/error.h"
#include "train/ops.h"

namespace reducenet::train {
namespace {

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

}  // namespace

Network::Network(const Graph& graph, const NetworkOptions& options, at::Device device)
    : graph_(graph),
      constants_(graph.values.size()),
      roles_(graph.values.size(), Role::constant),
      reads_(graph.values.size()),
      format_(options.channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous),
      device_(device) {
  if (graph.inputs.empty() || graph.outputs.empty()) {
    throw Error(ErrorKind::unsupported, "graph '" + graph.name + "' has no input or no output to train");
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    check_trainable(graph, graph.nodes[i]);
    if (std::holds_alternative<Fade>(graph.nodes[i].op)) fades_.push_back(i);
    for (const ValueId input : graph.nodes[i].inputs) {
      if (input) ++reads_[static_cast<size_t>(input.index)];
    }
  }
  ++reads_[static_cast<size_t>(graph.outputs.front().index)];
  load_constants(options, device);
}

void Network::load_constants(const NetworkOptions& options, at::Device device) {
  const auto assign = [&](const Node& node, size_t input, Role role) {
    if (input >= node.inputs.size() || !graph_.constant(node.inputs[input])) return;
    Role& known = roles_[static_cast<size_t>(node.inputs[input].index)];
    if (known == Role::constant || role == Role::weight) known = role;
  };
  for (const Node& node : graph_.nodes) {
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
    } else if (std::holds_alternative<PRelu>(op)) {
      assign(node, 1, Role::parameter);
    } else if (binary && (binary->kind == Binary::Kind::add || binary->kind == Binary::Kind::mul)) {
      assign(node, 0, Role::parameter);
      assign(node, 1, Role::parameter);
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
    at::Tensor tensor = to_torch(*value.constant).to(device);
    if (options.channels_last && tensor.dim() == 4) tensor = tensor.contiguous(format_);
    const bool trained = roles_[i] == Role::weight || roles_[i] == Role::parameter;
    constants_[i] = tensor.set_requires_grad(trained);
  }
}

at::Tensor Network::forward(const at::Tensor& x, bool training) {
  std::vector<at::Tensor> values = constants_;
  std::vector<int32_t> remaining = reads_;
  at::Tensor& input = values[static_cast<size_t>(graph_.inputs.front().index)];
  input = x.to(device_, at::kFloat);
  if (x.dim() == 4) input = input.contiguous(format_);
  std::vector<at::Tensor> inputs;
  for (const Node& node : graph_.nodes) {
    inputs.clear();
    for (const ValueId id : node.inputs) {
      if (!id) {
        inputs.emplace_back();
        continue;
      }
      at::Tensor& value = values[static_cast<size_t>(id.index)];
      inputs.push_back(value);
      if (--remaining[static_cast<size_t>(id.index)] == 0) value.reset();
    }
    try {
      values[static_cast<size_t>(node.outputs.front().index)] = apply_node(graph_, node, inputs, training, momentum_);
    } catch (const c10::Error& error) {
      throw Error(ErrorKind::bad_input,
                  "node '" + node.name + "' (" + name_of(node.op) + "): " + error.what_without_backtrace());
    }
  }
  return values[static_cast<size_t>(graph_.outputs.front().index)];
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

void Network::set_fade(size_t index, double lambda) {
  std::get<Fade>(graph_.nodes[fades_.at(index)].op).lambda = lambda;
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
