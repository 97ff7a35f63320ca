// A tokenizer.json of any bytes: refused with its place, or a tokenizer whose ids are its own and whose spans lie in the text.
#include <cstdlib>
#include <string_view>

#include "corvid/text/tokenizer.hpp"
#include "fuzz/fuzz_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto tokenizer = corvid::Tokenizer::open(fuzz_file(data, size, ".tokenizer.json"));
  if (!tokenizer) {
    if (tokenizer.error().code() == corvid::ErrorCode::internal) std::abort();
    return 0;
  }
  constexpr std::string_view kText = "Hello  world, it's 3.14 \xe4\xb8\xad\xe6\x96\x87 <s> e\xcc\x81\n\n\t!";
  if (const auto spans = (*tokenizer)->encode_spans(kText)) {
    for (const auto& span : *spans) {
      if (span.id < 0 || span.id >= (*tokenizer)->vocab_size() || span.begin > span.end || span.end > kText.size()) std::abort();
    }
  }
  if (const auto ids = (*tokenizer)->encode(kText)) (void)(*tokenizer)->decode(*ids, true);
  return 0;
}
