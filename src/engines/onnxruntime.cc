#include "engines/onnxruntime.h"

#include <nlohmann/json.hpp>

#include "formats/onnx/onnx.h"
#include "reducenet/engines.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr const char* kRemedy =
    "ONNX Runtime is needed for this: pip install onnxruntime (for the python3 on the path, or the one that "
    "$REDUCENET_PYTHON names)";

constexpr const char* kScript = R"(
import json, time
try:
    import numpy, onnxruntime
except ImportError as error:
    send(('error: %s; ' % error + sys.argv[2]).encode())
    sys.exit(0)
send(b'ready')
kinds = {'tensor(float)': 'float32', 'tensor(double)': 'float64', 'tensor(float16)': 'float16',
         'tensor(int64)': 'int64', 'tensor(int32)': 'int32', 'tensor(uint8)': 'uint8', 'tensor(bool)': 'bool'}
sessions = {}
def session_of(model, exact):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[1])
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if exact:  # without VNNI its products of bytes saturate otherwise
        options.add_session_config_entry('session.x64quantprecision', '1')
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
def clock(model, seconds):
    session = session_of(model, False)
    random = numpy.random.default_rng(0)
    feed = {i.name: random.standard_normal([d if isinstance(d, int) else 1 for d in i.shape]).astype(kinds[i.type])
            for i in session.get_inputs()}
    times, start = [], time.perf_counter()
    session.run(None, feed)
    while len(times) < 5 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - begin)
    return 1e3 * sorted(times)[len(times) // 2]
def run(model, inputs):
    if model not in sessions:
        sessions[model] = session_of(model, True)
    session, feed = sessions[model], {}
    for declared, (shape, data) in zip(session.get_inputs(), inputs):
        feed[declared.name] = numpy.frombuffer(data, numpy.float64).reshape(shape).astype(kinds[declared.type])
    return [numpy.asarray(o, numpy.float64) for o in session.run(None, feed)]
while True:
    request = json.loads(receive())
    try:
        if 'seconds' in request:
            send(repr(clock(receive(), request['seconds'])).encode())
        else:
            data = [(shape, receive()) for shape in request['shapes']]
            outputs = run(request['model'], data)
            send(json.dumps([list(o.shape) for o in outputs]).encode())
            for o in outputs:
                send(numpy.ascontiguousarray(o).tobytes())
    except Exception as error:
        send(('error: ONNX Runtime: %s' % error).encode())
)";

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

OnnxRuntime::OnnxRuntime(int threads) : worker_(kScript, {std::to_string(threads), kRemedy}, kRemedy) {}

double OnnxRuntime::time(const Graph& graph, double seconds) {
  const std::string model = to_onnx(graph);
  worker_.send(bytes_of(nlohmann::json{{"seconds", seconds}}.dump()));
  worker_.send(bytes_of(model));
  return std::stod(text_of(worker_.receive()));
}

std::vector<Tensor> OnnxRuntime::run(const std::filesystem::path& model, const std::vector<Tensor>& inputs) {
  nlohmann::json request{{"model", std::filesystem::absolute(model).string()}, {"shapes", nlohmann::json::array()}};
  for (const Tensor& input : inputs) request["shapes"].push_back(input.shape());
  worker_.send(bytes_of(request.dump()));
  for (const Tensor& input : inputs) {
    const std::vector<double> values = input.to_doubles();
    worker_.send(std::as_bytes(std::span(values)));
  }
  std::vector<Tensor> outputs;
  for (const auto& shape : nlohmann::json::parse(text_of(worker_.receive()))) {
    outputs.emplace_back(DType::f64, shape.get<Shape>(), worker_.receive());
  }
  return outputs;
}

std::vector<std::vector<Tensor>> run_onnxruntime(const std::filesystem::path& model,
                                                 const std::vector<std::vector<Tensor>>& samples) {
  OnnxRuntime engine(1);
  std::vector<std::vector<Tensor>> results;
  for (const std::vector<Tensor>& inputs : samples) results.push_back(engine.run(model, inputs));
  return results;
}

}  // namespace reducenet
