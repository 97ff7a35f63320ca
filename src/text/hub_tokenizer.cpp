// Tokenizers from a hub's tokenizer.json: WordPiece with BERT's normaliser, byte-level BPE of the known families, and BPE over
// characters as SentencePiece models are written there.
#include <algorithm>
#include <variant>

#include "bpe.hpp"
#include "char_bpe.hpp"
#include "corvid/base/json.hpp"
#include "corvid/text/unicode.hpp"
#include "hub_components.hpp"
#include "loaders.hpp"
#include "normalizers.hpp"
#include "tokenizer_base.hpp"
#include "wordpiece.hpp"

namespace corvid {
namespace {

std::string type_of(const Json& node) { return node.is_object() ? node.value("type", std::string()) : std::string(); }

// The byte that a piece <0xNN> stands for, or -1.
int byte_of(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

class HubTokenizer final : public TokenizerBase {
 public:
  Status read(const Json& json) {
    if (!json.is_object() || !json.contains("model")) return fail(Error::bad_input("not a tokenizer.json: it has no \"model\"").at_key("/model"));
    const Json& model = json["model"];
    std::string type = type_of(model);
    if (type.empty() && model.contains("merges")) type = "BPE";
    if (type != "WordPiece" && type != "BPE") return fail(unsupported_component("a model", model, "/model/type"));
    if (type == "BPE") {
      auto normalizer = Normalizer::read(json.value("normalizer", Json()));
      if (!normalizer) return fail(std::move(normalizer).error());
      normalizer_ = std::move(*normalizer);
    }
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
    for (const auto& fragment : specials_.split(text, options.parse_special, options.literal)) {
      if (fragment.id >= 0) out.push_back({fragment.id, static_cast<std::uint32_t>(fragment.begin), static_cast<std::uint32_t>(fragment.end)});
      else encode_part(text.substr(fragment.begin, fragment.end - fragment.begin), fragment.begin, options, out);
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
    if (vocabulary_.kind(id) != TokenKind::normal) return std::string(piece);
    if (std::holds_alternative<BpeModel>(model_)) {
      std::string bytes;
      return from_byte_alphabet(piece, bytes) ? bytes : std::string(piece);
    }
    if (std::holds_alternative<CharBpe>(model_)) return text_of(piece);
    const auto& wordpiece = std::get<WordPieceModel>(model_);
    if (piece.substr(0, wordpiece.continuation.size()) == wordpiece.continuation) return std::string(piece.substr(wordpiece.continuation.size()));
    return " " + std::string(piece);
  }

  std::string decode(std::span<const TokenId> ids, bool show_special) const override {
    std::string out;
    for (const TokenId id : ids) out += token_bytes(id, show_special);
    if ((std::holds_alternative<WordPieceModel>(model_) || decoder_.strip_leading) && !out.empty() && out[0] == ' ') out.erase(0, 1);
    return out;
  }

  /// What the folder's other files say of BOS, EOS and the ends of a generation; tokenizer.json does not.
  Status read_siblings(const std::filesystem::path& folder) {
    std::vector<TokenId> ends;
    const auto add = [&](const Json& id) {
      if (id.is_number_integer() && vocabulary_.valid(id.get<std::int32_t>())) ends.push_back(id.get<std::int32_t>());
    };
    const auto file = [&](const char* name) -> Result<Json> {
      std::error_code status;
      if (!std::filesystem::exists(folder / name, status)) return Json(Json::object());
      CORVID_TRY(auto json, read_json_file(folder / name));
      return json.is_object() ? json : Json(Json::object());
    };
    for (const char* name : {"generation_config.json", "config.json"}) {
      CORVID_TRY(const auto json, file(name));
      const Json id = json.value("eos_token_id", Json());
      if (id.is_array()) for (const Json& one : id) add(one);
      else add(id);
    }
    CORVID_TRY(const auto config, file("tokenizer_config.json"));
    const auto named = [&](const char* key) -> std::optional<TokenId> {
      const Json token = config.value(key, Json());
      if (token.is_string()) return vocabulary_.find(token.get<std::string>());
      if (token.is_object() && token.contains("content") && token["content"].is_string()) return vocabulary_.find(token["content"].get<std::string>());
      return std::nullopt;
    };
    if (std::holds_alternative<WordPieceModel>(model_)) return {};
    if (const auto bos = named("bos_token")) bos_ = bos;
    if (const auto eos = named("eos_token")) eos_ = eos;
    else if (!eos_ && !ends.empty()) eos_ = ends.front();
    collect_end_of_generation(std::move(ends));
    return {};
  }

 private:
  std::string text_of(std::string_view piece) const {
    if (const int byte = byte_of(piece); byte >= 0 && decoder_.bytes) return std::string(1, static_cast<char>(byte));
    std::string out;
    for (std::size_t i = 0; i < piece.size();) {
      if (!decoder_.space.empty() && piece.substr(i, decoder_.space.size()) == decoder_.space) {
        out += ' ';
        i += decoder_.space.size();
      } else {
        out += piece[i++];
      }
    }
    return out;
  }

  // `ranges` of the raw text, as bytes of a normalised part that begins at `base` there.
  static std::vector<TextRange> normalised_ranges(const SourcedText& part, std::size_t base, std::span<const TextRange> ranges) {
    std::vector<TextRange> out;
    std::size_t next = 0;
    for (std::size_t i = 0; i < part.text.size() && next < ranges.size();) {
      const std::size_t begin = base + part.begins[i], end = base + part.ends[i];
      if (ranges[next].end <= begin) {
        ++next;
        continue;
      }
      if (ranges[next].begin < end) {
        if (!out.empty() && out.back().end == i) ++out.back().end;
        else out.push_back({i, i + 1});
      }
      ++i;
    }
    return out;
  }

  // One stretch between markers that stand in the raw text.
  void encode_part(std::string_view part, std::size_t base, const EncodeOptions& options, std::vector<TokenSpan>& out) const {
    if (const auto* wordpiece = std::get_if<WordPieceModel>(&model_)) {
      wordpiece->encode(vocabulary_, bert_, part, base, out);
      return;
    }
    const auto* bytes = std::get_if<BpeModel>(&model_);
    if (bytes && normalizer_.empty() && normalized_specials_.empty() && !pre_.prefix_space) return bytes->encode(part, base, out);
    const SourcedText whole = normalizer_.apply(part);
    const auto offset = static_cast<std::uint32_t>(base);
    const auto literal = normalized_specials_.empty() ? std::vector<TextRange>() : normalised_ranges(whole, base, options.literal);
    std::vector<TokenSpan> local;
    const auto map = [&](const SourcedText& source) {
      for (const auto& span : local) out.push_back({span.id, offset + source.begins[span.begin], offset + source.ends[span.end - 1]});
    };
    for (const auto& fragment : normalized_specials_.split(whole.text, options.parse_special, literal)) {
      if (fragment.id >= 0) {
        out.push_back({fragment.id, offset + whole.begins[fragment.begin], offset + whole.ends[fragment.end - 1]});
        continue;
      }
      SourcedText stretch = whole.slice(fragment.begin, fragment.end);
      if (bytes) {
        if (pre_.prefix_space && stretch.text[0] != ' ') {
          SourcedText spaced;
          spaced.append(" ", stretch.begins[0], stretch.begins[0]);
          spaced.append(stretch, 0, stretch.text.size());
          stretch = std::move(spaced);
        }
        local.clear();
        bytes->encode(stretch.text, 0, local);
        map(stretch);
        continue;
      }
      const bool at_start = base == 0 && fragment.begin == 0;
      for (const SourcedText& word : pre_.chars.words(std::move(stretch), at_start)) {
        local.clear();
        std::get<CharBpe>(model_).encode(vocabulary_, word.text, local);
        map(word);
      }
    }
  }

  Status read_vocabulary(const Json& json, const Json& model) {
    if (!model.contains("vocab") || !model["vocab"].is_object()) return fail(Error::bad_input("the model has no vocabulary").at_key("/model/vocab"));
    static const Json kNothing = Json::array();
    const Json& vocab = model["vocab"];
    const Json& added_tokens = json.contains("added_tokens") ? json["added_tokens"] : kNothing;
    // Pieces by id, as views into the JSON. More ids than tokens leave a gap, so no larger table is needed to find one.
    struct Entry {
      std::string_view piece;
      TokenKind kind = TokenKind::normal;
      bool there = false;
    };
    std::vector<Entry> by_id(vocab.size() + added_tokens.size());
    std::int64_t last = -1;
    const auto place = [&](std::int64_t id, std::string_view piece, TokenKind kind) {
      last = std::max(last, id);
      if (id >= static_cast<std::int64_t>(by_id.size())) return true;
      const bool fresh = !by_id[static_cast<std::size_t>(id)].there;
      by_id[static_cast<std::size_t>(id)] = {piece, kind, true};
      return fresh;
    };
    for (const auto& [piece, id] : vocab.items()) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < 0) return fail(Error::bad_input("a token's id must be a number from 0").at_key("/model/vocab/" + piece));
      if (!place(id.get<std::int64_t>(), piece, TokenKind::normal)) return fail(Error::bad_input("two tokens have one id").at_key("/model/vocab/" + piece));
    }
    std::vector<SpecialToken> specials, normalized;
    for (const auto& added : added_tokens) {
      if (!added.is_object() || !added.contains("id") || !added["id"].is_number_integer() || added["id"].get<std::int64_t>() < 0 || !added.contains("content") || !added["content"].is_string()) {
        return fail(Error::bad_input("an added token needs \"id\" and \"content\"").at_key("/added_tokens"));
      }
      const bool special = added.value("special", false);
      const auto& content = added["content"].get_ref<const std::string&>();
      if (added.value("single_word", false)) return fail(Error::unsupported("the added token \"" + content + "\" is a single word, which is not supported").at_key("/added_tokens"));
      place(added["id"].get<std::int64_t>(), content, special ? TokenKind::control : TokenKind::user_defined);
      const SpecialToken token{static_cast<TokenId>(added["id"].get<std::int64_t>()), content, special, added.value("lstrip", false), added.value("rstrip", false)};
      // A marker that is sought in the normalised text is normalised itself.
      if (added.value("normalized", !special) && !normalizer_.empty()) {
        normalized.push_back(token);
        normalized.back().text = normalizer_.apply(content).text;
      } else {
        specials.push_back(token);
      }
    }
    if (last < 0 || last >= (std::int64_t{1} << 22)) return fail(Error::bad_input("the vocabulary is empty, or its ids are too large").at_key("/model/vocab"));
    std::size_t bytes = 0;
    for (std::size_t id = 0; id <= static_cast<std::size_t>(last); ++id) {
      if (id >= by_id.size() || !by_id[id].there) return fail(Error::bad_input("no token has the id " + std::to_string(id)).at_key("/model/vocab"));
      bytes += by_id[id].piece.size();
    }
    by_id.resize(static_cast<std::size_t>(last) + 1);
    vocabulary_.reserve(by_id.size(), bytes);
    for (const Entry& entry : by_id) vocabulary_.add(entry.piece, entry.kind, 0);
    specials_ = SpecialTokens(std::move(specials), SpecialTokens::Order::leftmost_longest);
    normalized_specials_ = SpecialTokens(std::move(normalized), SpecialTokens::Order::leftmost_longest);
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
    if (type_of(normalizer) != "BertNormalizer") return fail(unsupported_component("a normaliser for WordPiece", normalizer, "/normalizer"));
    bert_.tables = BertTables::unicode8;
    bert_.clean_text = normalizer.value("clean_text", true);
    bert_.handle_chinese_chars = normalizer.value("handle_chinese_chars", true);
    bert_.lowercase = normalizer.value("lowercase", true);
    const Json accents = normalizer.value("strip_accents", Json());
    bert_.strip_accents = accents.is_boolean() ? accents.get<bool>() : bert_.lowercase;
    const Json pre = json.value("pre_tokenizer", Json());
    if (type_of(pre) != "BertPreTokenizer") return fail(unsupported_component("a pre-tokenizer for WordPiece", pre, "/pre_tokenizer"));
    return {};
  }

  Status read_bpe(const Json& json, const Json& model) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json value = model.value(key, Json());
      if (value.is_string() && !value.get<std::string>().empty()) return fail(Error::unsupported(std::string("BPE with ") + key + " is not supported in tokenizer.json").at_key(std::string("/model/") + key));
    }
    if (const Json dropout = model.value("dropout", Json()); dropout.is_number() && dropout.get<double>() > 0) return fail(Error::unsupported("BPE with dropout is not supported in tokenizer.json").at_key("/model/dropout"));
    CORVID_TRY(pre_, read_pre_tokenizer(json.value("pre_tokenizer", Json())));
    CORVID_TRY(decoder_, read_decoder(json.value("decoder", Json())));
    if (!model.contains("merges") || !model["merges"].is_array()) return fail(Error::bad_input("byte pair encoding needs its merges").at_key("/model/merges"));
    std::vector<std::string> merges;
    for (const auto& merge : model["merges"]) {
      if (merge.is_string()) merges.push_back(merge.get<std::string>());
      else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      else return fail(Error::bad_input("a merge must be two pieces").at_key("/model/merges"));
    }
    const std::vector<std::string_view> views(merges.begin(), merges.end());
    const bool ignore_merges = model.value("ignore_merges", false);
    const bool byte_fallback = model.value("byte_fallback", false);
    if (pre_.bytes) {
      if (byte_fallback) return fail(Error::unsupported("byte-level BPE with byte fallback is not supported in tokenizer.json").at_key("/model/byte_fallback"));
      BpeModel::Options options;
      options.pre = *pre_.bytes;
      options.ignore_merges = ignore_merges;
      options.drop_unknown_bytes = options.last_merge_wins = true;
      auto bpe = BpeModel::make(vocabulary_, views, options);
      if (!bpe) return fail(std::move(bpe).error());
      model_ = std::move(*bpe);
      kind_ = "bpe/" + std::string(to_string(*pre_.bytes));
      return {};
    }
    CharBpe::Options options;
    options.byte_fallback = byte_fallback;
    options.fuse_unknown = model.value("fuse_unk", false);
    options.ignore_merges = ignore_merges;
    if (const Json unknown = model.value("unk_token", Json()); unknown.is_string()) {
      options.unknown = vocabulary_.find(unknown.get<std::string>());
      if (!options.unknown) return fail(Error::bad_input("the unknown token \"" + unknown.get<std::string>() + "\" is not in the vocabulary").at_key("/model/unk_token"));
    }
    auto bpe = CharBpe::make(vocabulary_, views, options);
    if (!bpe) return fail(std::move(bpe).error());
    model_ = std::move(*bpe);
    kind_ = "bpe/characters";
    return {};
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
    return fail(unsupported_component("a post-processor", node, "/post_processor"));
  }

  std::variant<std::monostate, BpeModel, CharBpe, WordPieceModel> model_;
  BertNormalizer bert_;               // WordPiece
  Normalizer normalizer_;             // BPE
  HubPreTokenizer pre_;
  HubDecoder decoder_;
  SpecialTokens normalized_specials_; // sought in the normalised text
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_hub_tokenizer(const std::filesystem::path& path) {
  CORVID_TRY(const auto json, read_json_file(path));
  auto tokenizer = std::make_shared<HubTokenizer>();
  Status status;
  try {
    status = tokenizer->read(json);
    if (status) status = tokenizer->read_siblings(path.parent_path());
  } catch (const Json::exception& e) {
    // A value of another type than its key promises; nlohmann's message names both.
    return fail(Error::bad_input(std::string("not a tokenizer.json of a known form: ") + e.what()).at_file(path.string()));
  }
  if (!status) return fail(std::move(status).error().at_file(path.string()));
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace corvid
