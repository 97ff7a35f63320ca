// A CUDA device for tests, or a loud skip.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>

#include "corvid/compute/stream.hpp"

namespace corvid::test {

/// cuda:0, or the device whose number is in CORVID_TEST_CUDA_DEVICE; nullopt with a line on stderr that says SKIPPED and why. Where
/// CORVID_REQUIRE_CUDA is set, its lack throws.
inline std::optional<Device> cuda_device() {
  const auto devices = list_devices();
  if (devices) {
    const char* wanted = std::getenv("CORVID_TEST_CUDA_DEVICE");
    return devices->at(wanted ? static_cast<std::size_t>(std::atoi(wanted)) : 0).device;
  }
  if (std::getenv("CORVID_REQUIRE_CUDA")) throw std::runtime_error("a CUDA device is required: " + devices.error().message());
  std::fprintf(stderr, "SKIPPED: %s\n", devices.error().message().c_str());
  return std::nullopt;
}

}  // namespace corvid::test
