// Any text for each kind of tokenizer.json (those of the parity tests): ids within the vocabulary, spans within the text.
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/text/tokenizer.hpp"
#include "fuzz/fuzz_file.hpp"

namespace {

std::vector<std::shared_ptr<const corvid::Tokenizer>> open_all() {
  std::ifstream file(CORVID_SOURCE_DIR "/tests/golden/tokenizer_files.json");
  const auto golden = corvid::Json::parse(file);
  std::vector<std::shared_ptr<const corvid::Tokenizer>> tokenizers;
  for (const auto& each : golden["files"]) {
    const std::string text = each["file"].dump();
    auto opened = corvid::Tokenizer::open(fuzz_file(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), ".tokenizer.json"));
    if (opened) tokenizers.push_back(*opened);
  }
  if (tokenizers.empty()) std::abort();
  return tokenizers;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizers = open_all();
  if (size == 0) return 0;
  const auto& tokenizer = *tokenizers[data[0] % tokenizers.size()];
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto ids = tokenizer.encode(text, {.add_special = true, .parse_special = data[0] >= 128});
  const auto spans = tokenizer.encode_spans(text, {.add_special = true, .parse_special = data[0] >= 128});
  if (ids.has_value() != spans.has_value()) std::abort();
  if (!ids) return 0;
  if (ids->size() != spans->size()) std::abort();
  for (std::size_t i = 0; i < ids->size(); ++i) {
    const auto& span = (*spans)[i];
    if (span.id != (*ids)[i] || span.id < 0 || span.id >= tokenizer.vocab_size() || span.begin > span.end || span.end > text.size()) std::abort();
  }
  (void)tokenizer.decode(*ids, true);
  return 0;
}
