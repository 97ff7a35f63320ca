// JSON of any bytes: a value or a typed error; a value that was accepted is accepted again once written. As a file, with narrower limits.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "corvid/base/json.hpp"
#include "fuzz/fuzz_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = corvid::parse_json({reinterpret_cast<const char*>(data), size});
  if (value && !corvid::parse_json(corvid::dump_json(*value))) std::abort();
  corvid::JsonLimits narrow;
  narrow.max_depth = 6;
  narrow.max_bytes = 3000;
  narrow.reject_duplicate_keys = true;
  const auto file = corvid::read_json_file(fuzz_file(data, size, ".json"), narrow);
  if (file && (!value || *file != *value)) std::abort();
  if (!file && (file.error().code() == corvid::ErrorCode::internal || file.error().file().empty())) std::abort();
  if (!corvid::parse_json({reinterpret_cast<const char*>(data), size}, narrow) != !file) std::abort();
  return 0;
}
