#pragma once

#include <stdexcept>
#include <string>

namespace reducenet {

/// What went wrong, as a caller distinguishes it. The value is the exit code of the command line.
enum class ErrorKind {
  check_failed = 1,  ///< a verification did not hold
  usage = 2,         ///< the caller asked for something that makes no sense
  bad_input = 3,     ///< a file or model is malformed
  io = 4,            ///< the operating system refused
  unsupported = 5,   ///< valid, but outside what ReduceNet does
};

/// Thrown at boundaries (load, save, build, train). The message names the file, node and op concerned.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace reducenet
