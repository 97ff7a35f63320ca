#include "corvid/text/tokenizer.hpp"

#include <array>

#include "corvid/tensor/model_file.hpp"
#include "corvid/text/unicode.hpp"
#include "loaders.hpp"
#include "tokenizer_base.hpp"

namespace corvid {

namespace fs = std::filesystem;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::open(const fs::path& path) {
  std::error_code status;
  if (!fs::exists(path, status)) return fail(Error::not_found("no tokenizer here: a GGUF file, a folder with tokenizer.json, or a tokenizer.json").at_file(path.string()));
  if (fs::is_directory(path, status)) {
    const auto file = path / "tokenizer.json";
    if (!fs::exists(file, status)) return fail(Error::not_found("the folder has no tokenizer.json").at_file(path.string()));
    return load_hub_tokenizer(file);
  }
  if (path.extension() == ".json") return load_hub_tokenizer(path);
  CORVID_TRY(const auto file, ModelFile::open(path));
  return from_model(*file);
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_model(const ModelFile& file) {
  if (file.format() == ModelFormat::gguf) return load_gguf_tokenizer(file);
  const auto folder = file.format() == ModelFormat::hub_folder ? file.path() : file.path().parent_path();
  return open(folder);
}

Result<std::size_t> Tokenizer::count(std::string_view text) const {
  EncodeOptions options;
  options.add_special = false;
  CORVID_TRY(const auto ids, encode(text, options));
  return ids.size();
}

void TokenizerBase::collect_end_of_generation(std::vector<TokenId> ids) {
  // The markers with which the families that people run end a turn or a text.
  static constexpr std::array<std::string_view, 12> kMarkers = {"<|im_end|>",   "<|eot_id|>",      "<|eom_id|>",     "<|end|>",
                                                                "<end_of_turn>", "<|endoftext|>",   "<|end_of_text|>", "<|end_of_turn|>",
                                                                "<EOT>",         "<|return|>",      "<|call|>",        "<｜end▁of▁sentence｜>"};
  for (const auto marker : kMarkers) {
    if (const auto id = vocabulary_.find(marker); id && vocabulary_.kind(*id) != TokenKind::normal) ids.push_back(*id);
  }
  if (eos_) ids.push_back(*eos_);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  eog_ = std::move(ids);
}

void TokenizerBase::widen_to_characters(std::string_view text, std::vector<TokenSpan>& spans) {
  const auto inside = [&](std::uint32_t at) { return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
  for (auto& span : spans) {
    if (span.begin == span.end) continue;
    for (int i = 0; i < 3 && span.begin > 0 && inside(span.begin); ++i) --span.begin;
    for (int i = 0; i < 3 && inside(span.end); ++i) ++span.end;
  }
}

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer> tokenizer;
  bool show_special = false;
  std::string pending;  // bytes that may still become a code point
};

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool show_special)
    : state_(std::make_unique<State>(State{std::move(tokenizer), show_special, {}})) {}
StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::push(TokenId id) {
  std::string& pending = state_->pending;
  pending += state_->tokenizer->token_bytes(id, state_->show_special);
  // Keep back at most the last three bytes: a lead with fewer followers than it asks for.
  std::size_t keep = 0;
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, pending.size()); ++back) {
    const auto byte = static_cast<unsigned char>(pending[pending.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const std::size_t need = byte >= 0xF0 && byte <= 0xF4 ? 4 : byte >= 0xE0 && byte < 0xF0 ? 3 : byte >= 0xC2 && byte < 0xE0 ? 2 : 1;
    if (need > back) keep = back;
    break;
  }
  // "E0 80" can never become a code point: such a tail is let go at once.
  if (keep > 1) {
    const std::string tail = pending.substr(pending.size() - keep);
    const auto a = static_cast<unsigned char>(tail[0]), b = static_cast<unsigned char>(tail[1]);
    if ((a == 0xE0 && b < 0xA0) || (a == 0xED && b > 0x9F) || (a == 0xF0 && b < 0x90) || (a == 0xF4 && b > 0x8F)) keep = 0;
  }
  std::string out = unicode::to_valid_utf8(std::string_view(pending).substr(0, pending.size() - keep));
  pending.erase(0, pending.size() - keep);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = unicode::to_valid_utf8(state_->pending);
  state_->pending.clear();
  return out;
}

}  // namespace corvid
