#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "formats/file.h"
#include "reducenet/tensor.h"

namespace reducenet {

/// ONNX's element types; nullopt for those that no Tensor holds (strings, complex numbers, newer ones).
std::optional<DType> dtype_of(int onnx_type);
int onnx_type_of(DType dtype);

/// Reads the tensors of one model, whose external data lie below `folder`. Throws Error(bad_input) when sizes disagree,
/// or when a location is absolute, leaves the folder, passes a link or is no regular file.
class TensorReader {
 public:
  explicit TensorReader(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Raw bytes move out of `proto`; external data are mapped, not copied.
  Tensor read(onnx::TensorProto& proto);

  /// Copies the external data of every tensor inside the message into it, so that it depends on no folder. Bounded by
  /// what a protobuf message can hold.
  void make_inline(onnx::TensorProto& tensor);
  void make_inline(onnx::SparseTensorProto& tensor);
  void make_inline(onnx::NodeProto& node);
  void make_inline(onnx::GraphProto& graph);

 private:
  /// The `size` bytes that `proto` points at.
  MappedFile locate(const onnx::TensorProto& proto, uint64_t size);

  std::filesystem::path folder_;
  std::map<std::string, MappedFile> files_;
  int64_t budget_ = int64_t{1} << 31;  // bytes that may still be copied
};

/// Without data: name, dtype and dims.
onnx::TensorProto describe_tensor(const std::string& name, const Tensor& tensor);

}  // namespace reducenet
