#pragma once

#include <c10/core/Device.h>

#include <exception>
#include <string>

// Everything in which the versions of LibTorch from 1.13 on differ for us stands in device.cc.

namespace reducenet::train {

/// "cpu" or "cuda". Error(usage) for another name, Error(unsupported) when there is no such device here.
at::Device device_named(const std::string& name);

/// What an exception says, without the stack that LibTorch appends.
std::string message_of(const std::exception& error);

/// While it lives (and `on`), LibTorch computes convolutions and matrix products on that device in bfloat16.
class Autocast {
 public:
  Autocast(at::Device device, bool on);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::Device device_;
  bool on_;
};

}  // namespace reducenet::train
