// A document of any bytes, in the format that the program is built for: elements that lie inside it, or a typed error.
#include <cstdlib>

#include "corvid/retrieval/loader.hpp"
#include "fuzz/fuzz_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto document = corvid::load_document(fuzz_file(data, size, "." CORVID_FUZZED));
  if (!document) {
    if (document.error().message().empty() || document.error().code() == corvid::ErrorCode::internal) std::abort();
    return 0;
  }
  for (const auto& element : document->elements) {
    if (element.bytes.begin > element.bytes.end || element.bytes.end > size) std::abort();
  }
  return 0;
}
