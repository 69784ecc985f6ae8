#include "cli.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <set>
#include <string_view>

#include "reducenet/error.h"

namespace reducenet::cli {
namespace {

constexpr int io_exit = static_cast<int>(ErrorKind::io);
constexpr int usage_exit = static_cast<int>(ErrorKind::usage);

void print_error(std::string_view message) noexcept {
  const bool colour = interactive() && std::getenv("NO_COLOR") == nullptr;
  message = message.substr(0, message.find("\nException raised from"));  // LibTorch appends its stack
  std::fprintf(stderr, "%serror:%s %.*s\n", colour ? "\033[1;31m" : "", colour ? "\033[0m" : "",
               static_cast<int>(message.size()), message.data());
}

char** arguments = nullptr;  // of this process

void print_result(const Result& result, bool json) {
  const std::string text = json ? result.json.dump() + "\n" : result.text;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(ErrorKind::io, "cannot write to standard output");
  }
}

int dispatch(std::span<const Verb> verbs, int argc, char** argv) {
  CLI::App app("Train deep, deploy shallow: train networks whose parts fade out, collapse them exactly, run them fast.",
               "reducenet");
  app.require_subcommand(1);
  app.set_version_flag("--version", REDUCENET_VERSION);
  app.footer("Exit codes: 0 done, 1 a check failed, 2 usage, 3 bad input, 4 input/output, 5 unsupported.");
  bool json = false;
  Action action;
  for (const Verb& verb : verbs) {
    CLI::App* sub = app.add_subcommand(verb.name, verb.summary);
    if (verb.declare == nullptr) {
      if (argc > 1 && std::string_view(argv[1]) == verb.name) become_trainer();
      continue;
    }
    sub->add_flag("--json", json, "Print one JSON object on stdout");
    sub->footer(fmt::format("Examples:\n{}", verb.examples));
    sub->callback([&action, run_verb = verb.declare(*sub)] { action = run_verb; });
  }
  if (argc > 1 && argv[1][0] != '-' &&
      std::ranges::find(verbs, std::string_view(argv[1]), &Verb::name) == verbs.end()) {
    throw Error(ErrorKind::usage, fmt::format("no verb '{}'; reducenet --help lists them", argv[1]));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : usage_exit;
  }
  const Result result = action();
  print_result(result, json);
  return result.exit_code;
}

}  // namespace

int run(std::span<const Verb> verbs, int argc, char** argv) noexcept {
  arguments = argv;
  try {
    return dispatch(verbs, argc, argv);
  } catch (const Error& error) {
    print_error(error.what());
    return static_cast<int>(error.kind());
  } catch (const std::filesystem::filesystem_error& error) {
    print_error(error.what());
    return io_exit;
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return io_exit;
  } catch (const std::exception& error) {
    print_error(error.what());
    return static_cast<int>(ErrorKind::bad_input);
  }
}

void become_trainer() {
  const auto trainer = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "reducenet-train";
  setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0);  // transparent huge pages for the activations; read at start
  execv(trainer.c_str(), arguments);
  throw Error(ErrorKind::unsupported,
              fmt::format("{}: needs {}, which this build does not have: configure with -DREDUCENET_TRAIN=ON (Debian: "
                          "apt install libtorch-dev)",
                          arguments[1], trainer.string()));
}

bool interactive() {
  static const bool terminal = isatty(STDERR_FILENO) == 1;
  return terminal;
}

void note(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
}

void warn(const std::string& message) {
  static std::set<std::string> said;
  if (!said.insert(message).second) return;
  std::fprintf(stderr, "warning: %s\n", message.c_str());
}

std::string human(double count) {
  if (count >= 1e9) return fmt::format("{:.2f} G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.2f} M", count / 1e6);
  if (count >= 1e4) return fmt::format("{:.1f} k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

std::string milliseconds_text(double milliseconds) {
  const int decimals = milliseconds > 0 ? 1 - static_cast<int>(std::floor(std::log10(milliseconds))) : 0;
  return fmt::format("{:.{}f}", milliseconds, std::max(3, decimals));
}

}  // namespace reducenet::cli
