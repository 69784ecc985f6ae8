#include <algorithm>
#include <cmath>
#include <limits>

#include "formats/onnx/table.h"

namespace reducenet {
namespace {

using Kind = Activation::Kind;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kCubic = 0.044715;  // GELU by tanh: Hendrycks and Gimpel, arXiv 1606.08415, section 2
const double kTanhScale = std::sqrt(2 / M_PI);

Activation read_clip(NodeReader& r) {
  Activation clip{Kind::clip, -kInfinity, kInfinity};
  if (r.opset() < 11) {
    clip.alpha = r.real("min", -kInfinity);
    clip.beta = r.real("max", kInfinity);
  } else {
    clip.alpha = r.fold_scalar(1, -kInfinity);
    clip.beta = r.fold_scalar(2, kInfinity);
    r.keep(1);
  }
  return clip.alpha == 0 && clip.beta == 6 ? Activation{Kind::relu6} : clip;
}

void write_clip(double low, double high, NodeWriter& w) {
  if (w.opset() < 11) {
    auto& node = w.emit("Clip");
    if (low != -kInfinity) set(node, "min", low);
    if (high != kInfinity) set(node, "max", high);
    return;
  }
  std::vector<std::string> inputs = w.inputs();
  inputs.push_back(low == -kInfinity ? "" : w.scalar("min", low));
  inputs.push_back(high == kInfinity ? "" : w.scalar("max", high));
  while (inputs.back().empty()) inputs.pop_back();
  w.emit("Clip", inputs);
}

/// ½·x·(1 + gate)
void write_half_gated(const std::string& gate, NodeWriter& w) {
  const std::string sum = w.step("Add", {gate, w.scalar("one", 1)}).output(0);
  const std::string product = w.step("Mul", {w.input(0), sum}).output(0);
  w.emit("Mul", {product, w.scalar("half", 0.5)});
}

/// ½·x·(1 + erf(x/√2))
void write_gelu(NodeWriter& w) {
  if (w.opset() >= 20) {
    w.emit("Gelu");
    return;
  }
  if (w.opset() < 9) w.refuse("GELU needs Erf, of operator set 9");
  const std::string scaled = w.step("Div", {w.input(0), w.scalar("root2", M_SQRT2)}).output(0);
  write_half_gated(w.step("Erf", {scaled}).output(0), w);
}

/// ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
void write_gelu_tanh(NodeWriter& w) {
  if (w.opset() >= 20) {
    set(w.emit("Gelu"), "approximate", std::string("tanh"));
    return;
  }
  const std::string x = w.input(0);
  const std::string square = w.step("Mul", {x, x}).output(0);
  const std::string cube = w.step("Mul", {square, x}).output(0);
  const std::string small = w.step("Mul", {cube, w.scalar("cubic", kCubic)}).output(0);
  const std::string sum = w.step("Add", {x, small}).output(0);
  const std::string scaled = w.step("Mul", {sum, w.scalar("scale", kTanhScale)}).output(0);
  write_half_gated(w.step("Tanh", {scaled}).output(0), w);
}

/// x·gate
void write_gated(const std::string& gate, NodeWriter& w) {
  w.emit("Mul", {w.input(0), gate});
}

void write_bytes(const Activation& op, NodeWriter& w) {
  if (w.opset() < 10) w.refuse("QuantizeLinear is of operator set 10");
  const std::string scale = w.scalar("scale", op.alpha);
  const std::string zero = w.constant("zero", Tensor::filled({}, op.beta, DType::u8));
  w.emit("DequantizeLinear", {w.step("QuantizeLinear", {w.input(0), scale, zero}).output(0), scale, zero});
}

void write(const Activation& op, NodeWriter& w) {
  switch (op.kind) {
    case Kind::identity:
    case Kind::relu:
    case Kind::sigmoid:
    case Kind::tanh:
    case Kind::softplus:
    case Kind::softsign:
      w.emit(name_of(Op(op)));
      return;
    case Kind::relu6:
      write_clip(0, 6, w);
      return;
    case Kind::clip:
      write_clip(op.alpha, op.beta, w);
      return;
    case Kind::leaky_relu:
    case Kind::elu:
      set(w.emit(name_of(Op(op))), "alpha", op.alpha);
      return;
    case Kind::selu: {
      auto& node = w.emit("Selu");
      set(node, "alpha", op.alpha);
      set(node, "gamma", op.beta);
      return;
    }
    case Kind::hard_sigmoid: {
      auto& node = w.emit("HardSigmoid");
      set(node, "alpha", op.alpha);
      set(node, "beta", op.beta);
      return;
    }
    case Kind::hard_swish: {
      if (w.opset() >= 14) {
        w.emit("HardSwish");
        return;
      }
      auto& gate = w.step("HardSigmoid", {w.input(0)});
      set(gate, "alpha", 1.0 / 6);
      set(gate, "beta", 0.5);
      write_gated(gate.output(0), w);
      return;
    }
    case Kind::silu:
      write_gated(w.step("Sigmoid", {w.input(0)}).output(0), w);
      return;
    case Kind::mish: {
      if (w.opset() >= 18) {
        w.emit("Mish");
        return;
      }
      const std::string softplus = w.step("Softplus", {w.input(0)}).output(0);
      write_gated(w.step("Tanh", {softplus}).output(0), w);
      return;
    }
    case Kind::gelu:
      write_gelu(w);
      return;
    case Kind::gelu_tanh:
      write_gelu_tanh(w);
      return;
    case Kind::bytes:
      write_bytes(op, w);
      return;
  }
}

/// Finds, above a product, the sequences that are one activation.
class Recogniser {
 public:
  explicit Recogniser(const Graph& graph) : graph_(graph), uses_(graph) {}

  /// The activation that ends in this node, its input, and the nodes that it makes superfluous.
  struct Match {
    Activation activation;
    ValueId input;
    std::vector<NodeId> inner;
  };
  std::optional<Match> match(NodeId id) {
    inner_.clear();
    if (!is_product(graph_[id])) return std::nullopt;
    std::vector<ValueId> factors;
    for (const ValueId input : graph_[id].inputs) append_factors(input, factors);
    std::optional<Match> found = gated(factors);
    if (!found) found = half_gated(factors);
    if (found) found->inner = inner_;
    return found;
  }

 private:
  static bool is_product(const Node& node) {
    const auto* op = std::get_if<Binary>(&node.op);
    return op && op->kind == Binary::Kind::mul;
  }

  /// The node that makes a value which nothing else reads.
  const Node* only_for_us(ValueId value) {
    const NodeId producer = uses_.producer_of(value);
    if (!producer || !uses_.has_single_use(value)) return nullptr;
    inner_.push_back(producer);
    return &graph_[producer];
  }

  /// The factors of a value, through products that nothing else reads.
  void append_factors(ValueId value, std::vector<ValueId>& factors) {
    const NodeId producer = uses_.producer_of(value);
    if (producer && uses_.has_single_use(value) && is_product(graph_[producer])) {
      inner_.push_back(producer);
      for (const ValueId input : graph_[producer].inputs) append_factors(input, factors);
    } else {
      factors.push_back(value);
    }
  }
  std::vector<ValueId> factors_of(ValueId value) {
    std::vector<ValueId> factors;
    append_factors(value, factors);
    return factors;
  }

  bool is_scalar(ValueId value, double expected) const {
    const Tensor* constant = graph_.constant(value);
    return constant && constant->size() == 1 && constant->shape().size() <= 1 &&
           std::abs(constant->to_doubles()[0] - expected) <= 1e-6 * std::abs(expected);
  }
  bool remove_scalar(std::vector<ValueId>& factors, double expected) const {
    const auto found = std::ranges::find_if(factors, [&](ValueId f) { return is_scalar(f, expected); });
    if (found == factors.end()) return false;
    factors.erase(found);
    return true;
  }

  /// The input of the one-input node of that kind that makes `value` for us alone.
  ValueId input_of(ValueId value, const Op& op) {
    const Node* node = only_for_us(value);
    return node && node->op == op ? node->inputs[0] : ValueId{};
  }
  ValueId input_of_sum_with(ValueId value, double scalar) {
    const Node* node = only_for_us(value);
    if (!node || node->op != Op(Binary{Binary::Kind::add})) return {};
    if (is_scalar(node->inputs[1], scalar)) return node->inputs[0];
    return is_scalar(node->inputs[0], scalar) ? node->inputs[1] : ValueId{};
  }

  /// x·gate(x)
  std::optional<Match> gated(const std::vector<ValueId>& factors) {
    if (factors.size() != 2) return std::nullopt;
    for (const bool swapped : {false, true}) {
      const ValueId x = factors[swapped], gate = factors[!swapped];
      const size_t before = inner_.size();
      const Node* node = only_for_us(gate);
      const auto* op = node ? std::get_if<Activation>(&node->op) : nullptr;
      if (op && node->inputs[0] == x) {
        if (op->kind == Kind::sigmoid) return Match{{Kind::silu}, x, {}};
        if (op->kind == Kind::hard_sigmoid && std::abs(op->alpha - 1.0 / 6) < 1e-7 && op->beta == 0.5) {
          return Match{{Kind::hard_swish}, x, {}};
        }
      }
      if (op && op->kind == Kind::tanh && input_of(node->inputs[0], Activation{Kind::softplus}) == x) {
        return Match{{Kind::mish}, x, {}};
      }
      inner_.resize(before);
    }
    return std::nullopt;
  }

  /// ½·x·(1 + gate)
  std::optional<Match> half_gated(std::vector<ValueId> factors) {
    if (factors.size() != 3 || !remove_scalar(factors, 0.5)) return std::nullopt;
    for (const bool swapped : {false, true}) {
      const ValueId x = factors[swapped];
      const size_t before = inner_.size();
      if (const ValueId gate = input_of_sum_with(factors[!swapped], 1)) {
        const size_t summed = inner_.size();
        if (is_scaled(input_of(gate, Unary{Unary::Kind::erf}), x)) return Match{{Kind::gelu}, x, {}};
        inner_.resize(summed);
        if (is_cubic(input_of(gate, Activation{Kind::tanh}), x)) return Match{{Kind::gelu_tanh}, x, {}};
      }
      inner_.resize(before);
    }
    return std::nullopt;
  }
  /// value = x/√2
  bool is_scaled(ValueId value, ValueId x) {
    const Node* node = value ? only_for_us(value) : nullptr;
    const auto* op = node ? std::get_if<Binary>(&node->op) : nullptr;
    if (!op) return false;
    const auto [a, b] = std::pair(node->inputs[0], node->inputs[1]);
    if (op->kind == Binary::Kind::div) return a == x && is_scalar(b, M_SQRT2);
    return op->kind == Binary::Kind::mul &&
           ((a == x && is_scalar(b, M_SQRT1_2)) || (b == x && is_scalar(a, M_SQRT1_2)));
  }
  /// value = √(2/π)·(x + 0.044715·x³)
  bool is_cubic(ValueId value, ValueId x) {
    std::vector<ValueId> factors = value ? factors_of(value) : std::vector<ValueId>();
    if (factors.size() != 2 || !remove_scalar(factors, kTanhScale)) return false;
    const Node* sum = only_for_us(factors[0]);
    if (!sum || sum->op != Op(Binary{Binary::Kind::add})) return false;
    const bool swapped = sum->inputs[1] == x;
    if (sum->inputs[swapped] != x) return false;
    std::vector<ValueId> cube = factors_of(sum->inputs[!swapped]);
    if (!remove_scalar(cube, kCubic)) return false;
    if (cube.size() == 3) return std::ranges::count(cube, x) == 3;
    const Node* power = cube.size() == 1 ? only_for_us(cube[0]) : nullptr;
    return power && power->op == Op(Binary{Binary::Kind::pow}) && power->inputs[0] == x &&
           is_scalar(power->inputs[1], 3);
  }

  const Graph& graph_;
  const Uses uses_;
  std::vector<NodeId> inner_;
};

}  // namespace

Op read_activation(NodeReader& r) {
  const std::string& type = r.type();
  if (type == "Clip") return read_clip(r);
  if (type == "LeakyRelu") return Activation{Kind::leaky_relu, r.real("alpha", 0.01f)};
  if (type == "Elu") return Activation{Kind::elu, r.real("alpha", 1)};
  if (type == "Selu") {
    return Activation{Kind::selu, r.real("alpha", 1.67326319217681884765625),
                      r.real("gamma", 1.05070102214813232421875)};
  }
  if (type == "HardSigmoid") return Activation{Kind::hard_sigmoid, r.real("alpha", 0.2f), r.real("beta", 0.5)};
  if (type == "Gelu") {
    const std::string approximate = r.text("approximate", "none");
    if (approximate != "none" && approximate != "tanh") r.refuse("approximate = " + approximate);
    return Activation{approximate == "tanh" ? Kind::gelu_tanh : Kind::gelu};
  }
  if (type == "Swish") {
    if (r.real("alpha", 1) != 1) r.refuse("alpha other than 1");
    return Activation{Kind::silu};
  }
  Activation op{Kind::relu};  // the others have no parameters
  for (const Kind kind : {Kind::sigmoid, Kind::tanh, Kind::softplus, Kind::softsign, Kind::hard_swish, Kind::mish}) {
    if (name_of(Op(Activation{kind})) == type) op.kind = kind;
  }
  return op;
}

void write_activation(const Op& op, NodeWriter& w) {
  write(std::get<Activation>(op), w);
}

// λ·A(x) + (1−λ)·x; with A = LeakyRelu of slope a (ReLU: 0) that is LeakyRelu of slope λ·a + 1 − λ.
void write_fade(const Op& op, NodeWriter& w) {
  const Fade& fade = std::get<Fade>(op);
  const Activation& a = fade.activation;
  if (fade.kind != "activation") w.refuse("a fade of kind '" + fade.kind + "' cannot be exported before its end");
  if (fade.lambda == 0) {
    w.emit("Identity");
  } else if (fade.lambda == 1) {
    write(a, w);
  } else if (a.kind == Kind::relu || a.kind == Kind::leaky_relu) {
    const double slope = a.kind == Kind::relu ? 0 : a.alpha;
    write(Activation{Kind::leaky_relu, fade.lambda * slope + 1 - fade.lambda}, w);
  } else {
    w.refuse("ONNX has no operator for " + std::string(name_of(a.kind)) + " halfway through its fade");
  }
}

std::vector<std::pair<NodeId, std::vector<NodeId>>> recognise_activations(Graph& graph) {
  std::vector<std::pair<NodeId, std::vector<NodeId>>> superfluous;
  Recogniser recogniser(graph);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const NodeId id{static_cast<int32_t>(i)};
    if (const auto match = recogniser.match(id)) {
      graph[id].op = match->activation;
      graph[id].inputs = {match->input};
      superfluous.emplace_back(id, match->inner);
    }
  }
  return superfluous;
}

}  // namespace reducenet
