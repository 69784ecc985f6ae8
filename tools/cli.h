#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace reducenet::cli {

using Json = nlohmann::ordered_json;

/// What a verb has to say on stdout: `json` under --json, `text` otherwise.
struct Result {
  Json json;
  std::string text;
  int exit_code = 0;
};

/// Runs a verb whose options have been parsed.
using Action = std::function<Result()>;

struct Verb {
  const char *name, *summary, *examples;
  Action (*declare)(CLI::App& app);  ///< adds the verb's options; nullptr: the verb lives in reducenet-train
};

/// Parses the command line, runs the verb, prints its result, and maps every error to its exit code (error.h).
int run(std::span<const Verb> verbs, int argc, char** argv) noexcept;

/// Replaces this process by the reducenet-train beside it, which runs the same command. Error(unsupported) where there
/// is none.
[[noreturn]] void become_trainer();

/// True when stderr is a terminal: only then are there progress bars and colour.
bool interactive();
/// A line on stderr.
void note(const std::string& message);
/// The same, marked as a warning; what was said before is not said again. For one thread.
void warn(const std::string& message);

/// 1234567 → "1.23 M".
std::string human(double count);
/// 12.3456 → "12.346", 0.00032109 → "0.00032": three decimals, below a hundredth as many as show two digits.
std::string milliseconds_text(double milliseconds);

}  // namespace reducenet::cli
