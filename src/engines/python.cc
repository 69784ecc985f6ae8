#include "engines/python.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "reducenet/error.h"

extern char** environ;

namespace reducenet {
namespace {

constexpr uint64_t kLargestMessage = uint64_t{1} << 33;

/// Message framing, shared by every script.
constexpr const char* kPreamble = R"(
import struct, sys
def receive():
    head = sys.stdin.buffer.read(8)
    if len(head) < 8:
        sys.exit(0)
    return sys.stdin.buffer.read(struct.unpack('<Q', head)[0])
def send(data):
    sys.stdout.buffer.write(struct.pack('<Q', len(data)) + data)
    sys.stdout.buffer.flush()
)";

}  // namespace

PythonWorker::PythonWorker(const std::string& script, const std::vector<std::string>& arguments,
                           const std::string& remedy)
    : remedy_(remedy) {
  int ends[2];  // one socket for both ways: writing to a worker that has died gives an error, not a signal
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw Error(ErrorKind::io, std::string("cannot make a socket: ") + std::strerror(errno));
  }
  to_ = from_ = ends[0];
  const char* chosen = std::getenv("REDUCENET_PYTHON");
  const std::string python = chosen && *chosen ? chosen : "python3";
  const std::string program = kPreamble + script;
  std::vector<std::string> words{python, "-c", program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  const int failure = posix_spawnp(&process_, python.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failure != 0) {
    process_ = -1;
    close(to_);
    throw Error(ErrorKind::unsupported, "cannot start " + python + ": " + std::strerror(failure) + "; " + remedy_);
  }
  try {
    receive();
  } catch (...) {
    close(to_);
    waitpid(process_, nullptr, 0);
    throw;
  }
}

PythonWorker::~PythonWorker() {
  close(to_);  // end of input ends the script
  if (process_ > 0) waitpid(process_, nullptr, 0);
}

void PythonWorker::send(std::span<const std::byte> message) {
  const uint64_t length = message.size();
  const auto write_all = [&](std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(to_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw Error(ErrorKind::unsupported, "the Python worker ended early; " + remedy_);
      bytes = bytes.subspan(static_cast<size_t>(count));
    }
  };
  write_all(std::as_bytes(std::span(&length, 1)));
  write_all(message);
}

void PythonWorker::read_exactly(std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t count = read(from_, to.data(), to.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw Error(ErrorKind::unsupported, "the Python worker did not answer; " + remedy_);
    to = to.subspan(static_cast<size_t>(count));
  }
}

std::vector<std::byte> PythonWorker::receive() {
  uint64_t length = 0;
  read_exactly(std::as_writable_bytes(std::span(&length, 1)));
  if (length > kLargestMessage) throw Error(ErrorKind::unsupported, "the Python worker answers nonsense; " + remedy_);
  std::vector<std::byte> message(length);
  read_exactly(message);
  const std::string_view text(reinterpret_cast<const char*>(message.data()), message.size());
  if (text.starts_with("error: ")) throw Error(ErrorKind::unsupported, std::string(text.substr(7)));
  return message;
}

}  // namespace reducenet
