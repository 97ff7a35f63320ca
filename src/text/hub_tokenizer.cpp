// Tokenizers from a hub's tokenizer.json: WordPiece with BERT's normaliser, and byte-level BPE of the known families.
#include <map>
#include <variant>

#include "bpe.hpp"
#include "corvid/base/json.hpp"
#include "corvid/text/unicode.hpp"
#include "loaders.hpp"
#include "tokenizer_base.hpp"
#include "wordpiece.hpp"

namespace corvid {
namespace {

Error unsupported(const std::string& what, const Json& node, const char* key) {
  const std::string type = node.is_object() && node.contains("type") && node["type"].is_string() ? node["type"].get<std::string>() : "this form";
  return Error::unsupported(what + " of the kind \"" + type + "\" is not supported in tokenizer.json").at_key(key);
}

std::string type_of(const Json& node) { return node.is_object() ? node.value("type", std::string()) : std::string(); }

// The expressions that name the families, as their tokenizer.json files write them.
std::optional<PreTokenizer> family_of(const std::string& regex) {
  static const std::string kAnyCase = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  static const std::string kTail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  if (regex == kAnyCase + R"(\p{N}{1,3})" + kTail) return PreTokenizer::llama3;
  if (regex == kAnyCase + R"(\p{N})" + kTail) return PreTokenizer::qwen2;
  return std::nullopt;
}

class HubTokenizer final : public TokenizerBase {
 public:
  Status read(const Json& json) {
    if (!json.is_object() || !json.contains("model")) return fail(Error::bad_input("not a tokenizer.json: it has no \"model\"").at_key("/model"));
    const Json& model = json["model"];
    std::string type = type_of(model);
    if (type.empty() && model.contains("merges")) type = "BPE";
    if (type != "WordPiece" && type != "BPE") return fail(unsupported("a model", model, "/model/type"));
    CORVID_TRY_STATUS(read_vocabulary(json, model));
    if (type == "WordPiece") CORVID_TRY_STATUS(read_wordpiece(json, model));
    else CORVID_TRY_STATUS(read_bpe(json, model));
    CORVID_TRY_STATUS(read_post_processor(json.value("post_processor", Json())));
    if (!prefix_.empty()) bos_ = prefix_.front();
    if (!suffix_.empty()) eos_ = suffix_.back();
    collect_end_of_generation({});
    return {};
  }

  Result<std::vector<TokenSpan>> encode_spans(std::string_view text, const EncodeOptions& options) const override {
    if (text.size() > 0xFFFFFFF0u) return fail(Error::limit_exceeded("a text of more than 4 GiB cannot be tokenised in one piece"));
    if (const auto at = unicode::find_invalid_utf8(text)) {
      return fail(Error::bad_input("the text is not UTF-8, which this tokenizer needs").at_offset(*at));
    }
    std::vector<TokenSpan> out;
    if (options.add_special) for (const TokenId id : prefix_) out.push_back({id, 0, 0});
    for (const auto& fragment : specials_.split(text, options.parse_special)) {
      if (fragment.id >= 0) {
        out.push_back({fragment.id, static_cast<std::uint32_t>(fragment.begin), static_cast<std::uint32_t>(fragment.end)});
        continue;
      }
      const auto part = text.substr(fragment.begin, fragment.end - fragment.begin);
      if (const auto* bpe = std::get_if<BpeModel>(&model_)) bpe->encode(part, fragment.begin, out);
      else if (const auto* wordpiece = std::get_if<WordPieceModel>(&model_)) {
        for (const auto& word : bert_words(part, normalizer_)) wordpiece->encode(vocabulary_, word, fragment.begin, out);
      }
    }
    const auto end = static_cast<std::uint32_t>(text.size());
    if (options.add_special) for (const TokenId id : suffix_) out.push_back({id, end, end});
    widen_to_characters(text, out);
    return out;
  }

  std::string token_bytes(TokenId id, bool show_special) const override {
    if (!vocabulary_.valid(id)) return {};
    const auto piece = vocabulary_.piece(id);
    if (is_control(id)) return show_special ? std::string(piece) : std::string();
    if (std::holds_alternative<BpeModel>(model_)) {
      std::string bytes;
      if (vocabulary_.kind(id) == TokenKind::normal && from_byte_alphabet(piece, bytes)) return bytes;
      return std::string(piece);
    }
    const auto& wordpiece = std::get<WordPieceModel>(model_);
    if (piece.substr(0, wordpiece.continuation.size()) == wordpiece.continuation) return std::string(piece.substr(wordpiece.continuation.size()));
    return " " + std::string(piece);
  }

  std::string decode(std::span<const TokenId> ids, bool show_special) const override {
    std::string out;
    for (const TokenId id : ids) out += token_bytes(id, show_special);
    if (std::holds_alternative<WordPieceModel>(model_) && !out.empty() && out[0] == ' ') out.erase(0, 1);
    return out;
  }

 private:
  Status read_vocabulary(const Json& json, const Json& model) {
    if (!model.contains("vocab") || !model["vocab"].is_object()) return fail(Error::bad_input("the model has no vocabulary").at_key("/model/vocab"));
    std::map<std::int64_t, std::pair<std::string, TokenKind>> by_id;
    for (const auto& [piece, id] : model["vocab"].items()) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < 0) return fail(Error::bad_input("a token's id must be a number from 0").at_key("/model/vocab/" + piece));
      if (!by_id.try_emplace(id.get<std::int64_t>(), piece, TokenKind::normal).second) return fail(Error::bad_input("two tokens have one id").at_key("/model/vocab/" + piece));
    }
    std::vector<SpecialToken> specials;
    for (const auto& added : json.value("added_tokens", Json::array())) {
      if (!added.is_object() || !added.contains("id") || !added["id"].is_number_integer() || added["id"].get<std::int64_t>() < 0 || !added.contains("content") || !added["content"].is_string()) {
        return fail(Error::bad_input("an added token needs \"id\" and \"content\"").at_key("/added_tokens"));
      }
      const bool special = added.value("special", false);
      const auto content = added["content"].get<std::string>();
      if (added.value("single_word", false)) return fail(Error::unsupported("the added token \"" + content + "\" is a single word, which is not supported").at_key("/added_tokens"));
      by_id[added["id"].get<std::int64_t>()] = {content, special ? TokenKind::control : TokenKind::user_defined};
      specials.push_back({static_cast<TokenId>(added["id"].get<std::int64_t>()), content, special, added.value("lstrip", false), added.value("rstrip", false)});
    }
    if (by_id.empty() || by_id.rbegin()->first >= (std::int64_t{1} << 22)) return fail(Error::bad_input("the vocabulary is empty, or its ids are too large").at_key("/model/vocab"));
    const auto size = static_cast<std::size_t>(by_id.rbegin()->first) + 1;
    std::size_t bytes = 0;
    for (const auto& [id, entry] : by_id) bytes += entry.first.size();
    vocabulary_.reserve(size, bytes);
    std::int64_t next = 0;
    for (const auto& [id, entry] : by_id) {
      if (id != next) return fail(Error::bad_input("no token has the id " + std::to_string(next)).at_key("/model/vocab"));
      vocabulary_.add(entry.first, entry.second, 0);
      ++next;
    }
    specials_ = SpecialTokens(std::move(specials), SpecialTokens::Order::leftmost_longest);
    return {};
  }

  Status read_wordpiece(const Json& json, const Json& model) {
    WordPieceModel wordpiece;
    const auto unknown = model.value("unk_token", std::string("[UNK]"));
    const auto id = vocabulary_.find(unknown);
    if (!id) return fail(Error::bad_input("the unknown token \"" + unknown + "\" is not in the vocabulary").at_key("/model/unk_token"));
    wordpiece.unknown = *id;
    wordpiece.continuation = model.value("continuing_subword_prefix", std::string("##"));
    const auto longest = model.value("max_input_chars_per_word", std::int64_t{100});
    wordpiece.max_characters = longest > 0 ? static_cast<std::size_t>(longest) : 100;
    model_ = std::move(wordpiece);
    kind_ = "wordpiece";
    const Json normalizer = json.value("normalizer", Json());
    if (type_of(normalizer) != "BertNormalizer") return fail(unsupported("a normaliser for WordPiece", normalizer, "/normalizer"));
    normalizer_.clean_text = normalizer.value("clean_text", true);
    normalizer_.handle_chinese_chars = normalizer.value("handle_chinese_chars", true);
    normalizer_.lowercase = normalizer.value("lowercase", true);
    const Json accents = normalizer.value("strip_accents", Json());
    normalizer_.strip_accents = accents.is_boolean() ? accents.get<bool>() : normalizer_.lowercase;
    const Json pre = json.value("pre_tokenizer", Json());
    if (type_of(pre) != "BertPreTokenizer") return fail(unsupported("a pre-tokenizer for WordPiece", pre, "/pre_tokenizer"));
    return {};
  }

  Status read_bpe(const Json& json, const Json& model) {
    if (model.value("byte_fallback", false)) return fail(Error::unsupported("BPE with byte fallback is read from GGUF files only").at_key("/model/byte_fallback"));
    const Json normalizer = json.value("normalizer", Json());
    if (!normalizer.is_null() && type_of(normalizer) != "NFC") return fail(unsupported("a normaliser for byte-level BPE", normalizer, "/normalizer"));
    if (!normalizer.is_null()) return fail(unsupported("a normaliser for byte-level BPE", normalizer, "/normalizer"));
    CORVID_TRY(const auto pre, read_pre_tokenizer(json.value("pre_tokenizer", Json())));
    if (!model.contains("merges") || !model["merges"].is_array()) return fail(Error::bad_input("byte pair encoding needs its merges").at_key("/model/merges"));
    std::vector<std::string> merges;
    for (const auto& merge : model["merges"]) {
      if (merge.is_string()) merges.push_back(merge.get<std::string>());
      else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      else return fail(Error::bad_input("a merge must be two pieces").at_key("/model/merges"));
    }
    const std::vector<std::string_view> views(merges.begin(), merges.end());
    auto bpe = BpeModel::make(vocabulary_, views, pre, model.value("ignore_merges", false));
    if (!bpe) return fail(std::move(bpe).error());
    model_ = std::move(*bpe);
    kind_ = "bpe/" + std::string(to_string(pre));
    return {};
  }

  static Result<PreTokenizer> read_pre_tokenizer(const Json& node) {
    const auto plain_byte_level = [](const Json& n) { return type_of(n) == "ByteLevel" && !n.value("add_prefix_space", false); };
    if (plain_byte_level(node) && node.value("use_regex", true)) return PreTokenizer::gpt2;
    if (type_of(node) == "Sequence" && node.contains("pretokenizers") && node["pretokenizers"].size() == 2 && plain_byte_level(node["pretokenizers"][1])) {
      const Json& first = node["pretokenizers"][0];
      const bool regex = node["pretokenizers"][1].value("use_regex", true);
      if (type_of(first) == "Digits" && first.value("individual_digits", false) && regex) return PreTokenizer::smollm;
      if (type_of(first) == "Split" && !regex && first.value("behavior", std::string()) == "Isolated" && !first.value("invert", false) && first.contains("pattern")) {
        if (const auto family = family_of(first["pattern"].value("Regex", std::string()))) return *family;
      }
    }
    return fail(unsupported("a pre-tokenizer for byte-level BPE", node, "/pre_tokenizer"));
  }

  Result<TokenId> special_id(const std::string& piece) const {
    if (const auto id = vocabulary_.find(piece)) return *id;
    return fail(Error::bad_input("the special token \"" + piece + "\" is not in the vocabulary").at_key("/post_processor"));
  }

  Status read_post_processor(const Json& node) {
    const auto type = type_of(node);
    if (node.is_null() || type == "ByteLevel") return {};
    if (type == "Sequence" && node.contains("processors") && node["processors"].is_array()) {
      for (const auto& inner : node["processors"]) CORVID_TRY_STATUS(read_post_processor(inner));
      return {};
    }
    if (type == "BertProcessing" || type == "RobertaProcessing") {
      for (const auto& [key, list] : {std::pair<const char*, std::vector<TokenId>*>{"cls", &prefix_}, {"sep", &suffix_}}) {
        if (!node.contains(key) || !node[key].is_array() || node[key].empty() || !node[key][0].is_string()) return fail(Error::bad_input("names no token").at_key(std::string("/post_processor/") + key));
        CORVID_TRY(const auto id, special_id(node[key][0].get<std::string>()));
        list->push_back(id);
      }
      return {};
    }
    if (type == "TemplateProcessing" && node.contains("single") && node["single"].is_array()) {
      bool after = false;
      for (const auto& item : node["single"]) {
        if (item.contains("Sequence")) after = true;
        else if (item.contains("SpecialToken") && item["SpecialToken"].value("id", Json()).is_string()) {
          CORVID_TRY(const auto id, special_id(item["SpecialToken"]["id"].get<std::string>()));
          (after ? suffix_ : prefix_).push_back(id);
        } else return fail(Error::bad_input("a template's item must be a sequence or a special token").at_key("/post_processor/single"));
      }
      return {};
    }
    return fail(unsupported("a post-processor", node, "/post_processor"));
  }

  std::variant<std::monostate, BpeModel, WordPieceModel> model_;
  BertNormalizer normalizer_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_hub_tokenizer(const std::filesystem::path& path) {
  CORVID_TRY(const auto json, read_json_file(path));
  auto tokenizer = std::make_shared<HubTokenizer>();
  Status status;
  try {
    status = tokenizer->read(json);
  } catch (const Json::exception& e) {
    // A value of another type than its key promises; nlohmann's message names both.
    return fail(Error::bad_input(std::string("not a tokenizer.json of a known form: ") + e.what()).at_file(path.string()));
  }
  if (!status) return fail(std::move(status).error().at_file(path.string()));
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace corvid
