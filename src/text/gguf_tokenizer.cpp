// Tokenizers from GGUF metadata: "gpt2" (byte-level BPE), "llama" (SentencePiece), "bert" (WordPiece).
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <variant>

#include "bpe.hpp"
#include "corvid/tensor/model_file.hpp"
#include "corvid/text/unicode.hpp"
#include "loaders.hpp"
#include "spm.hpp"
#include "tokenizer_base.hpp"
#include "wordpiece.hpp"

namespace corvid {
namespace {

constexpr std::string_view kSpmSpace = "\xE2\x96\x81";
constexpr std::size_t kMaxVocab = std::size_t{1} << 22;
// Longer pieces exist in no vocabulary that is known; a limit keeps hostile files from being slow.
constexpr std::size_t kMaxPieceBytes = 4096;

class GgufTokenizer final : public TokenizerBase {
 public:
  static Result<std::shared_ptr<const Tokenizer>> load(const ModelFile& file) {
    auto tokenizer = std::make_shared<GgufTokenizer>();
    auto status = tokenizer->read(file.metadata());
    if (!status) return fail(std::move(status).error().at_file(file.path().string()));
    return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
  }

  Result<std::vector<TokenSpan>> encode_spans(std::string_view text, const EncodeOptions& options) const override {
    if (text.size() > 0xFFFFFFF0u) return fail(Error::limit_exceeded("a text of more than 4 GiB cannot be tokenised in one piece"));
    std::vector<TokenSpan> out;
    if (options.add_special) for (const TokenId id : prefix_) out.push_back({id, 0, 0});
    bool after_special = true;
    for (const auto& fragment : specials_.split(text, options.parse_special, options.literal)) {
      if (fragment.id >= 0) {
        out.push_back({fragment.id, static_cast<std::uint32_t>(fragment.begin), static_cast<std::uint32_t>(fragment.end)});
        after_special = true;
        continue;
      }
      const auto part = text.substr(fragment.begin, fragment.end - fragment.begin);
      if (const auto* bpe = std::get_if<BpeModel>(&model_)) bpe->encode(part, fragment.begin, out);
      else if (const auto* spm = std::get_if<SpmModel>(&model_)) spm->encode(vocabulary_, part, fragment.begin, space_prefix_ && after_special, out);
      else if (const auto* wordpiece = std::get_if<WordPieceModel>(&model_)) {
        wordpiece->encode(vocabulary_, normalizer_, part, fragment.begin, out);
      }
      after_special = false;
    }
    const auto end = static_cast<std::uint32_t>(text.size());
    if (options.add_special) for (const TokenId id : suffix_) out.push_back({id, end, end});
    widen_to_characters(text, out);
    return out;
  }

  std::string token_bytes(TokenId id, bool show_special) const override {
    if (!vocabulary_.valid(id)) return {};
    const auto piece = vocabulary_.piece(id);
    switch (vocabulary_.kind(id)) {
      case TokenKind::control:
      case TokenKind::unknown: return show_special ? std::string(piece) : std::string();
      case TokenKind::user_defined: return std::string(piece);
      case TokenKind::byte: return std::string(1, static_cast<char>(byte_of(piece).value_or(0)));
      default: break;
    }
    if (std::holds_alternative<BpeModel>(model_)) {
      std::string bytes;
      return from_byte_alphabet(piece, bytes) ? bytes : std::string(piece);
    }
    std::string out;
    for (std::size_t i = 0; i < piece.size();) {
      if (piece.substr(i, kSpmSpace.size()) == kSpmSpace) {
        out += ' ';
        i += kSpmSpace.size();
      } else {
        out += piece[i++];
      }
    }
    return out;
  }

  std::string decode(std::span<const TokenId> ids, bool show_special) const override {
    std::string out;
    for (const TokenId id : ids) out += token_bytes(id, show_special);
    const bool leading = std::holds_alternative<WordPieceModel>(model_) || (std::holds_alternative<SpmModel>(model_) && space_prefix_);
    if (leading && !out.empty() && out[0] == ' ') out.erase(0, 1);
    return out;
  }

 private:
  static std::optional<int> byte_of(std::string_view piece) {
    if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return std::nullopt;
    const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
    const int high = digit(piece[3]), low = digit(piece[4]);
    if (high < 0 || low < 0) return std::nullopt;
    return high * 16 + low;
  }

  Status read(const Metadata& metadata) {
    CORVID_TRY(const auto model, metadata.string("tokenizer.ggml.model"));
    if (!model) return fail(Error::bad_input("the file has no tokenizer").at_key("tokenizer.ggml.model"));
    CORVID_TRY_STATUS(read_vocabulary(metadata));
    if (*model == "gpt2") CORVID_TRY_STATUS(read_bpe(metadata));
    else if (*model == "llama") CORVID_TRY_STATUS(read_spm(metadata));
    else if (*model == "bert") CORVID_TRY_STATUS(read_wordpiece(metadata));
    else return fail(Error::unsupported("tokenizers of the kind \"" + std::string(model->substr(0, 80)) + "\" are not supported; gpt2, llama and bert are").at_key("tokenizer.ggml.model"));
    mark_known_controls();
    std::vector<SpecialToken> specials;
    for (TokenId id = 0; id < vocabulary_.size(); ++id) {
      const auto kind = vocabulary_.kind(id);
      if (kind != TokenKind::control && kind != TokenKind::user_defined && kind != TokenKind::unknown) continue;
      specials.push_back({id, std::string(vocabulary_.piece(id)), kind != TokenKind::user_defined, false, false});
    }
    specials_ = SpecialTokens(std::move(specials), SpecialTokens::Order::longest_marker_first);
    std::vector<TokenId> eog;
    for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
      CORVID_TRY(const auto id, token_id(metadata, key, std::nullopt));
      if (id) eog.push_back(*id);
    }
    collect_end_of_generation(std::move(eog));
    return {};
  }

  Status read_vocabulary(const Metadata& metadata) {
    CORVID_TRY(const auto tokens, metadata.strings("tokenizer.ggml.tokens"));
    if (!tokens || tokens->empty()) return fail(Error::bad_input("the file has no vocabulary").at_key("tokenizer.ggml.tokens"));
    if (tokens->size() > kMaxVocab) return fail(Error::limit_exceeded("a vocabulary of " + std::to_string(tokens->size()) + " tokens; at most " + std::to_string(kMaxVocab) + " are read").at_key("tokenizer.ggml.tokens"));
    CORVID_TRY(const auto scores, metadata.floats("tokenizer.ggml.scores"));
    CORVID_TRY(const auto types, metadata.integers("tokenizer.ggml.token_type"));
    const auto wrong_size = [&](std::size_t n, const char* key) {
      return Error::bad_input("has " + std::to_string(n) + " entries for " + std::to_string(tokens->size()) + " tokens").at_key(key);
    };
    if (scores && scores->size() != tokens->size()) return fail(wrong_size(scores->size(), "tokenizer.ggml.scores"));
    if (types && types->size() != tokens->size()) return fail(wrong_size(types->size(), "tokenizer.ggml.token_type"));
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < tokens->size(); ++i) {
      const auto key = [&](const char* array) { return std::string(array) + "[" + std::to_string(i) + "]"; };
      if ((*tokens)[i].size() > kMaxPieceBytes) return fail(Error::bad_input("a token of " + std::to_string((*tokens)[i].size()) + " bytes; at most " + std::to_string(kMaxPieceBytes) + " are allowed").at_key(key("tokenizer.ggml.tokens")));
      if (scores && !std::isfinite((*scores)[i])) return fail(Error::bad_input("a score that is not a finite number").at_key(key("tokenizer.ggml.scores")));
      if (types && ((*types)[i] < 0 || (*types)[i] > 6)) return fail(Error::bad_input("a token type that is not known").at_key(key("tokenizer.ggml.token_type")));
      if (types && (*types)[i] == 6 && !byte_of((*tokens)[i])) return fail(Error::bad_input("a byte token must be written <0xNN>").at_key(key("tokenizer.ggml.tokens")));
      bytes += (*tokens)[i].size();
    }
    vocabulary_.reserve(tokens->size(), bytes);
    for (std::size_t i = 0; i < tokens->size(); ++i) {
      const auto kind = types && (*types)[i] != 0 ? static_cast<TokenKind>((*types)[i]) : TokenKind::normal;
      vocabulary_.add((*tokens)[i], kind, scores ? (*scores)[i] : 0.0f);
    }
    return {};
  }

  // Markers that end a turn or fill in the middle are control tokens whatever type the file gives them, as in llama.cpp: in a user's
  // text they stay text.
  void mark_known_controls() {
    const auto mark = [this](std::string_view piece) {
      const auto id = vocabulary_.find(piece);
      if (id) vocabulary_.set_kind(*id, TokenKind::control);
      return id.has_value();
    };
    const bool plain_s = vocabulary_.find("<|tool_response>").has_value();
    for (const char* piece : {"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>",
                              "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["}) {
      if (!(plain_s && std::string_view(piece) == "</s>")) mark(piece);
    }
    // One of each family.
    const std::initializer_list<const char*> families[] = {
        {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>"},
        {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>"},
        {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>"},
        {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"},
        {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"},
        {"<|file_sep|>"}};
    for (const auto& family : families) std::any_of(family.begin(), family.end(), mark);
  }

  // The key's id, checked against the vocabulary; `usual` where the key is absent and the id exists.
  Result<std::optional<TokenId>> token_id(const Metadata& metadata, const char* key, std::optional<TokenId> usual) const {
    CORVID_TRY(const auto id, metadata.unsigned_integer(key));
    if (!id) return usual && vocabulary_.valid(*usual) ? usual : std::optional<TokenId>();
    if (*id == 0xFFFFFFFFu) return std::optional<TokenId>();  // writers' "none"
    if (*id >= static_cast<std::uint64_t>(vocabulary_.size())) {
      return fail(Error::bad_input("token " + std::to_string(*id) + " is outside the vocabulary of " + std::to_string(vocabulary_.size())).at_key(key));
    }
    return std::optional<TokenId>(static_cast<TokenId>(*id));
  }

  Status read_bos_eos(const Metadata& metadata, std::optional<TokenId> bos, std::optional<TokenId> eos, bool add_bos, bool add_eos) {
    CORVID_TRY(bos_, token_id(metadata, "tokenizer.ggml.bos_token_id", bos));
    CORVID_TRY(eos_, token_id(metadata, "tokenizer.ggml.eos_token_id", eos));
    CORVID_TRY(const auto with_bos, metadata.boolean("tokenizer.ggml.add_bos_token"));
    CORVID_TRY(const auto with_eos, metadata.boolean("tokenizer.ggml.add_eos_token"));
    if (with_bos.value_or(add_bos)) {
      if (!bos_) return fail(Error::bad_input("the tokenizer adds a BOS token that the file does not name").at_key("tokenizer.ggml.bos_token_id"));
      prefix_ = {*bos_};
    }
    if (with_eos.value_or(add_eos)) {
      if (!eos_) return fail(Error::bad_input("the tokenizer adds an EOS token that the file does not name").at_key("tokenizer.ggml.eos_token_id"));
      suffix_ = {*eos_};
    }
    return {};
  }

  Status read_bpe(const Metadata& metadata) {
    CORVID_TRY(const auto name, metadata.string("tokenizer.ggml.pre"));
    if (!name) return fail(Error::unsupported("the file does not name its pre-tokenizer; convert the model again with a current converter").at_key("tokenizer.ggml.pre"));
    const auto pre = pre_tokenizer_from_gguf(*name);
    if (!pre) return fail(Error::unsupported("the pre-tokenizer \"" + std::string(name->substr(0, 80)) + "\" is not supported; gpt-2, smollm, llama-bpe and qwen2 are").at_key("tokenizer.ggml.pre"));
    CORVID_TRY(const auto merges, metadata.strings("tokenizer.ggml.merges"));
    if (!merges) return fail(Error::bad_input("byte pair encoding needs its merges").at_key("tokenizer.ggml.merges"));
    const bool llama3 = *pre == PreTokenizer::llama3;
    BpeModel::Options options;
    options.pre = *pre;
    options.ignore_merges = llama3;
    auto model = BpeModel::make(vocabulary_, *merges, options);
    if (!model) return fail(std::move(model).error());
    model_ = std::move(*model);
    kind_ = "bpe/" + std::string(to_string(*pre));
    return read_bos_eos(metadata, 11, 11, llama3, false);
  }

  Status read_spm(const Metadata& metadata) {
    if (!metadata.find("tokenizer.ggml.scores")) return fail(Error::bad_input("SentencePiece needs its scores").at_key("tokenizer.ggml.scores"));
    CORVID_TRY(auto model, SpmModel::make(vocabulary_));
    model_ = std::move(model);
    kind_ = "spm";
    CORVID_TRY(const auto prefix, metadata.boolean("tokenizer.ggml.add_space_prefix"));
    space_prefix_ = prefix.value_or(true);
    return read_bos_eos(metadata, 1, 2, true, false);
  }

  Status read_wordpiece(const Metadata& metadata) {
    WordPieceModel model;
    CORVID_TRY(const auto unknown, token_id(metadata, "tokenizer.ggml.unknown_token_id", 100));
    if (!unknown) return fail(Error::bad_input("WordPiece needs its unknown token").at_key("tokenizer.ggml.unknown_token_id"));
    model.unknown = *unknown;
    model.continuation.clear();
    model.word_start = kSpmSpace;
    model.max_characters = 0;
    model_ = std::move(model);
    kind_ = "wordpiece";
    CORVID_TRY(const auto lowercase, metadata.boolean("tokenizer.ggml.normalizer.lowercase"));
    CORVID_TRY(const auto accents, metadata.boolean("tokenizer.ggml.normalizer.strip_accents"));
    normalizer_.lowercase = lowercase.value_or(true);
    normalizer_.strip_accents = accents.value_or(normalizer_.lowercase);
    CORVID_TRY(auto cls, token_id(metadata, "tokenizer.ggml.cls_token_id", std::nullopt));
    CORVID_TRY(bos_, token_id(metadata, "tokenizer.ggml.bos_token_id", 101));
    if (!cls) cls = bos_;
    CORVID_TRY(auto sep, token_id(metadata, "tokenizer.ggml.seperator_token_id", 102));
    if (!cls || !sep) return fail(Error::bad_input("WordPiece needs its CLS and SEP tokens").at_key("tokenizer.ggml.cls_token_id"));
    bos_ = cls;
    eos_ = sep;
    prefix_ = {*cls};
    suffix_ = {*sep};
    return {};
  }

  std::variant<std::monostate, BpeModel, SpmModel, WordPieceModel> model_;
  BertNormalizer normalizer_;
  bool space_prefix_ = false;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_gguf_tokenizer(const ModelFile& file) { return GgufTokenizer::load(file); }

}  // namespace corvid
