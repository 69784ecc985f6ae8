#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "reducenet/error.h"

namespace reducenet::cli {

inline void add_dtype(CLI::App& app, std::string& dtype) {
  app.add_option("--dtype", dtype, "Number type of weights and activations (f32)")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}))
      ->option_text("f32|bf16|int8");
}

inline void require_f32(const char* verb, const std::string& dtype) {
  if (dtype != "f32") throw Error(ErrorKind::unsupported, fmt::format("{}: --dtype {}: only f32 so far", verb, dtype));
}

}  // namespace reducenet::cli
