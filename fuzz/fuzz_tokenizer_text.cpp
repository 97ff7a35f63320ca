// Any text for each kind of tokenizer: those of the parity tests, WordPiece and SentencePiece: ids within the vocabulary, spans within the text.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/tensor/model_file.hpp"
#include "corvid/text/tokenizer.hpp"
#include "fuzz/fuzz_file.hpp"
#include "support/gguf_writer.hpp"

namespace {

std::vector<std::string> pieces() {
  return {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "e", "h", "l", "o", "t", "\u2581t", "he", "\u2581the", "ll", "ello", "hello", "1", "2", "12", "!", "!!", "\u00e9", "\u4e2d", "\u2581\u2581"};
}

std::string sentencepiece() {
  auto tokens = pieces();
  std::vector<float> scores;
  std::vector<std::int32_t> kinds;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    scores.push_back(-static_cast<float>(i % 7));
    kinds.push_back(i == 0 ? 2 : i < 3 ? 3 : 1);
  }
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    tokens.push_back(name);
    scores.push_back(0);
    kinds.push_back(6);
  }
  return corvid::test::GgufWriter().string("general.architecture", "llama").string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens)
      .floats("tokenizer.ggml.scores", scores).integers("tokenizer.ggml.token_type", kinds).bytes();
}

std::string wordpiece(bool lowercase) {
  std::vector<std::string> tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (const auto& piece : pieces()) tokens.push_back(piece);
  for (const auto& piece : pieces()) tokens.push_back("\u2581" + piece);
  for (int letter = 'a'; letter <= 'z'; ++letter) tokens.push_back("\u2581" + std::string(1, static_cast<char>(letter)) + (letter % 2 ? "" : "e"));
  std::vector<std::int32_t> kinds(tokens.size(), 1);
  for (std::size_t i = 0; i < 5; ++i) kinds[i] = 3;
  return corvid::test::GgufWriter().string("general.architecture", "bert").string("tokenizer.ggml.model", "bert").strings("tokenizer.ggml.tokens", tokens)
      .integers("tokenizer.ggml.token_type", kinds).u32("tokenizer.ggml.unknown_token_id", 1).u32("tokenizer.ggml.cls_token_id", 2)
      .u32("tokenizer.ggml.bos_token_id", 2).u32("tokenizer.ggml.seperator_token_id", 3).boolean("tokenizer.ggml.normalizer.lowercase", lowercase)
      .boolean("tokenizer.ggml.normalizer.strip_accents", lowercase).bytes();
}

std::vector<std::shared_ptr<const corvid::Tokenizer>> open_all() {
  std::ifstream file(CORVID_SOURCE_DIR "/tests/golden/tokenizer_files.json");
  const auto golden = corvid::Json::parse(file);
  std::vector<std::shared_ptr<const corvid::Tokenizer>> tokenizers;
  for (const auto& each : golden["files"]) {
    const std::string text = each["file"].dump();
    auto opened = corvid::Tokenizer::open(fuzz_file(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), ".tokenizer.json"));
    if (opened) tokenizers.push_back(*opened);
  }
  for (const std::string& bytes : {sentencepiece(), wordpiece(true), wordpiece(false)}) {
    const auto path = fuzz_file(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), ".gguf");
    const auto model = corvid::ModelFile::open(path);
    if (!model) std::abort();
    auto opened = corvid::Tokenizer::from_model(**model);
    if (!opened) {
      std::fprintf(stderr, "%s\n", opened.error().describe().c_str());
      std::abort();
    }
    tokenizers.push_back(*opened);
  }
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
