#include "corvid/tensor/device.hpp"

#include <charconv>

namespace corvid {

std::string to_string(Device device) {
  if (device.is_cpu()) return "cpu";
  return "cuda:" + std::to_string(device.index);
}

Result<Device> parse_device(std::string_view text) {
  if (text == "cpu") return Device{};
  if (text == "cuda") return Device{DeviceKind::cuda, 0};
  constexpr std::string_view prefix = "cuda:";
  if (text.starts_with(prefix)) {
    const std::string_view digits = text.substr(prefix.size());
    int index = -1;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (failure == std::errc{} && end == digits.data() + digits.size() && index >= 0) return Device{DeviceKind::cuda, index};
  }
  return fail(Error::invalid_argument("no device \"" + std::string(text) + "\"; use cpu, cuda or cuda:N"));
}

}  // namespace corvid
