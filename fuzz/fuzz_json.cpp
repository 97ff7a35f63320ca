// JSON of any bytes: a value or a typed error; a value that was accepted is accepted again once written.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "corvid/base/json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = corvid::parse_json({reinterpret_cast<const char*>(data), size});
  if (value && !corvid::parse_json(corvid::dump_json(*value))) std::abort();
  return 0;
}
