#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace reducenet {

/// A Python program that answers messages: each is a length (8 bytes, little endian) and so many bytes, both ways. The
/// first answer is "ready". An answer that begins with "error: " is thrown as Error(unsupported).
class PythonWorker {
 public:
  /// Starts $REDUCENET_PYTHON or python3 with `script`. Throws Error(unsupported) when that does not answer; `remedy`
  /// says what to do.
  PythonWorker(const std::string& script, const std::vector<std::string>& arguments, const std::string& remedy);
  ~PythonWorker();
  PythonWorker(const PythonWorker&) = delete;
  PythonWorker& operator=(const PythonWorker&) = delete;

  void send(std::span<const std::byte> message);
  std::vector<std::byte> receive();

 private:
  void read_exactly(std::span<std::byte> to);

  std::string remedy_;
  pid_t process_ = -1;
  int to_ = -1, from_ = -1;
};

}  // namespace reducenet
