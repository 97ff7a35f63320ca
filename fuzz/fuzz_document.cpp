// A document of any bytes, in the format that the program is built for: elements that lie inside it, or a typed error.
#include <csetjmp>
#include <cstdlib>
#include <cstring>

#include "corvid/retrieval/loader.hpp"
#include "fuzz/fuzz_file.hpp"
#include "retrieval/load/source_file.hpp"

namespace {

std::jmp_buf parser_broke;

// HTML is parsed here, where what is covered can be seen, and not in a process of its own.
corvid::Result<corvid::Document> load(const std::filesystem::path& path) {
  if (std::strcmp(CORVID_FUZZED, "html") != 0) return corvid::load_document(path);
  CORVID_TRY(const auto file, corvid::retrieval::SourceFile::read(path, {}));
  static corvid::Document document;   // what a jump does not lose
  document = {};
  if (setjmp(parser_broke) != 0) return corvid::fail(corvid::Error::bad_input("broken"));
  CORVID_TRY_STATUS(corvid::retrieval::parse_html(file, {}, {}, document));
  return document;
}

}  // namespace

// gumbo's assertions end the process that it has to itself: here, the run. What it had allocated stays (-detect_leaks=0).
extern "C" __attribute__((visibility("default"))) void __assert_fail(const char*, const char*, unsigned, const char*) noexcept { std::longjmp(parser_broke, 1); }

namespace {

void check(const std::filesystem::path& path, std::size_t size) {
  const auto document = load(path);
  if (!document) {
    if (document.error().message().empty() || document.error().code() == corvid::ErrorCode::internal) std::abort();
    return;
  }
  for (const auto& element : document->elements) {
    if (element.bytes.begin > element.bytes.end || element.bytes.end > size) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check(fuzz_file(data, size, "." CORVID_FUZZED), size);
  // The same bytes as one JSON value, which the same source reads.
  if (std::strcmp(CORVID_FUZZED, "jsonl") == 0) check(fuzz_file(data, size, ".json"), size);
  return 0;
}
