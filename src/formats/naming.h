#pragma once

#include <string>

#include "reducenet/error.h"

namespace reducenet {

/// Runs `body`, which deals with a file, a node, a field…; an Error that it throws names that.
template <class Body>
auto naming(const std::string& what, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    throw Error(error.kind(), what + ": " + error.what());
  }
}

}  // namespace reducenet
