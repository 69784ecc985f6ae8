#include "reducenet/formats.h"

#include "formats/header/header.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/qdq.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

/// A network with int8 ranges is written in QDQ form.
void save_as_onnx(const Graph& graph, const std::filesystem::path& path) {
  const auto scales = quantization(graph);
  save_onnx(scales ? to_qdq(graph, *scales) : graph, path);
}

constexpr Format kFormats[] = {
    {"onnx", ".onnx", load_onnx, save_as_onnx, load_onnx_to_run},
    {"safetensors", ".safetensors", load_native, save_native, nullptr},
    {"c++", ".hpp", nullptr, save_header, nullptr},
};

const Format& format_of(const std::filesystem::path& path) {
  std::string known;
  for (const Format& format : kFormats) {
    if (path.extension() == format.extension) return format;
    known += (known.empty() ? "" : ", ") + std::string(format.extension);
  }
  throw Error(ErrorKind::usage, path.string() + " is of no known format (" + known + ")");
}

const Format& readable(const std::filesystem::path& path) {
  const Format& format = format_of(path);
  if (!format.load) throw Error(ErrorKind::usage, std::string(format.name) + " files cannot be read: " + path.string());
  return format;
}

}  // namespace

std::span<const Format> formats() {
  return kFormats;
}

Graph load(const std::filesystem::path& path) {
  return readable(path).load(path);
}

Graph load_to_run(const std::filesystem::path& path) {
  const Format& format = readable(path);
  return format.load_to_run ? format.load_to_run(path) : format.load(path);
}

void save(const Graph& graph, const std::filesystem::path& path) {
  const Format& format = format_of(path);
  if (!format.save)
    throw Error(ErrorKind::usage, std::string(format.name) + " files cannot be written: " + path.string());
  format.save(graph, path);
}

}  // namespace reducenet
