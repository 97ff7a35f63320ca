// Tokenizes many texts with Corvid, for check_tokenizer_parity.py: records of u32 length and bytes from standard input, records of
// i32 count and i32 ids to standard output; for a text that is refused -1 - offset instead of a count.
//
//   tokenize_many MODEL plain|special|parse
#include <cstdint>
#include <cstdio>
#include <string>

#include "corvid/text/tokenizer.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto tokenizer = corvid::Tokenizer::open(argv[1]);
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", tokenizer.error().describe().c_str());
    return 3;
  }
  const std::string mode = argv[2];
  const corvid::EncodeOptions options{mode == "special", mode == "parse"};
  std::uint32_t length = 0;
  std::string text;
  while (std::fread(&length, sizeof length, 1, stdin) == 1) {
    text.resize(length);
    if (length != 0 && std::fread(text.data(), 1, length, stdin) != length) return 1;
    const auto ids = (*tokenizer)->encode(text, options);
    const std::int32_t count = ids ? static_cast<std::int32_t>(ids->size()) : -1 - static_cast<std::int32_t>(ids.error().offset().value_or(0));
    std::fwrite(&count, sizeof count, 1, stdout);
    if (ids && !ids->empty()) std::fwrite(ids->data(), sizeof(std::int32_t), ids->size(), stdout);
  }
  return 0;
}
