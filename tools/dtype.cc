#include "dtype.h"

#include <fmt/format.h>

#include <random>

#include "classifier.h"
#include "reducenet/error.h"
#include "reducenet/quantize.h"
#include "table.h"

namespace reducenet::cli {
namespace {

/// Nothing is rounded to bytes yet, and no BatchNorm would merge into the layer before it. One that cannot, behind a
/// sum or a join, is a layer.
void require_ready(const Graph& graph) {
  const Uses uses(graph);
  for (const Node& node : graph.nodes) {
    const auto* activation = std::get_if<Activation>(&node.op);
    if (activation && activation->kind == Activation::Kind::bytes) {
      throw Error(ErrorKind::usage,
                  fmt::format("node '{}' ({}): the model is of 8 bits already", node.name, describe(node.op)));
    }
    if (!std::holds_alternative<BatchNorm>(node.op) || !uses.has_single_use(node.inputs[0])) continue;
    const NodeId before = uses.producer_of(node.inputs[0]);
    const bool is_layer =
        before && (std::holds_alternative<Conv2d>(graph[before].op) || std::holds_alternative<Gemm>(graph[before].op));
    if (!is_layer || !graph.constant(graph[before].inputs[1])) continue;
    throw Error(ErrorKind::usage,
                fmt::format("node '{}' ({}): int8 starts from merged layers; collapse the model first", node.name,
                            describe(node.op)));
  }
}

/// `count` images spread over the set.
std::vector<int64_t> spread(const ImageSet& images, int64_t count) {
  std::vector<int64_t> which(static_cast<size_t>(std::min(count, images.count())));
  const auto n = static_cast<int64_t>(which.size());
  for (int64_t i = 0; i < n; ++i) which[static_cast<size_t>(i)] = i * images.count() / n;
  return which;
}

}  // namespace

Quantised quantise(const Graph& graph, const std::string& data, int64_t count, bool skip_corrupt) {
  require_ready(graph);
  const Preprocessing preprocessing = preprocessing_of(graph);
  const ImageSet training = load_for(preprocessing, data, Split::train, skip_corrupt);
  const std::vector<int64_t> which = spread(training, count);
  const int64_t batch = batch_for(graph, 1);
  const auto inputs = batches_of(preprocessing, training, which, batch);
  const ImageSet test = load_for(preprocessing, data, Split::test, skip_corrupt);
  Graph plain = graph, equalised = equalise(graph);
  set_quantization(plain, calibrate(plain, inputs, batch));
  set_quantization(equalised, calibrate(equalised, inputs, batch));

  Quantised result{.graph = equalised};
  Table table({"", "top-1, %"});
  const auto row = [&](const char* key, const std::string& label, const Graph& candidate, DType dtype) {
    Classifier classifier(candidate, 16, default_threads(), dtype);
    const double top1 = evaluate_images(classifier, test).top1;
    result.report[key] = top1;
    table.add({label, fmt::format("{:.2f}", 100 * top1)});
  };
  row("top1_f32", "float32", graph, DType::f32);
  row("top1_bf16", "bfloat16", graph, DType::bf16);
  row("top1_int8_plain", "int8, not equalised", plain, DType::i8);
  row("top1_int8", "int8, equalised", equalised, DType::i8);
  result.report["n"] = test.count();
  result.report["calibration_images"] = static_cast<int64_t>(which.size());
  result.text =
      fmt::format("{} test images, ranges from {} training images\n{}", test.count(), which.size(), table.str());
  return result;
}

Graph calibrated_for_timing(const Graph& graph) {
  Graph result = graph;
  if (quantization(graph)) return result;
  warn("the model carries no int8 ranges (export --dtype int8 --data …): using those of noise, for timing only");
  const Plan plan(graph);
  std::mt19937_64 random(0);
  std::normal_distribution<float> normal;
  std::vector<float> noise(static_cast<size_t>(plan.input_size()));
  for (float& value : noise) value = normal(random);
  set_quantization(result, calibrate(graph, std::vector<std::vector<float>>{noise}, plan.batch()));
  return result;
}

Graph with_bf16_weights(const Graph& graph) {
  Graph result = graph;
  for (const Node& node : graph.nodes) {
    const bool has_weights = std::holds_alternative<Conv2d>(node.op) ||
                             std::holds_alternative<ConvTranspose2d>(node.op) ||
                             std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op);
    if (!has_weights || !graph.constant(node.inputs[1])) continue;
    Value& value = result[node.inputs[1]];
    value.constant = value.constant->cast(DType::bf16);
    value.dtype = DType::bf16;
  }
  return result;
}

}  // namespace reducenet::cli
