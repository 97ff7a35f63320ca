// Device: where memory lives and ops run.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "corvid/base/result.hpp"

namespace corvid {

enum class DeviceKind : std::uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;

  bool is_cpu() const noexcept { return kind == DeviceKind::cpu; }
  auto operator<=>(const Device&) const = default;
};

/// "cpu", "cuda:0".
std::string to_string(Device device);
/// Reads "cpu", "cuda", "cuda:N". Errors: invalid_argument.
Result<Device> parse_device(std::string_view text);

}  // namespace corvid
