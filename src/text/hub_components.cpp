#include "hub_components.hpp"

#include "corvid/text/unicode.hpp"

namespace corvid {
namespace {

std::string type_of(const Json& node) { return node.is_object() ? node.value("type", std::string()) : std::string(); }

// The expressions that name the families, as their tokenizer.json files write them.
std::optional<PreTokenizer> family_of(const std::string& regex) {
  static const std::string kAnyCase = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  static const std::string kTail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  if (regex == kAnyCase + R"(\p{N}{1,3})" + kTail) return PreTokenizer::llama3;
  if (regex == kAnyCase + R"(\p{N})" + kTail) return PreTokenizer::qwen2;
  return std::nullopt;
}

Result<CharSplitter> read_metaspace(const Json& node) {
  CharSplitter out;
  out.kind = CharSplitter::Kind::metaspace;
  out.mark = node.value("replacement", out.mark);
  if (out.mark.empty()) return fail(Error::bad_input("Metaspace without its replacement").at_key("/pre_tokenizer/replacement"));
  out.split = node.value("split", true);
  const auto scheme = node.value("prepend_scheme", std::string(node.value("add_prefix_space", true) ? "always" : "never"));
  if (scheme == "always") out.prepend = CharSplitter::Prepend::always;
  else if (scheme == "first") out.prepend = CharSplitter::Prepend::first;
  else if (scheme == "never") out.prepend = CharSplitter::Prepend::never;
  else return fail(Error::unsupported("the Metaspace scheme \"" + scheme + "\" is not supported in tokenizer.json").at_key("/pre_tokenizer/prepend_scheme"));
  return out;
}

std::optional<CharSplitter> literal_split(const Json& node) {
  if (!node.contains("pattern") || !node["pattern"].contains("String") || node.value("invert", false)) return std::nullopt;
  CharSplitter out;
  out.kind = CharSplitter::Kind::literal;
  out.mark = node["pattern"]["String"].get<std::string>();
  const auto behavior = node.value("behavior", std::string());
  if (behavior == "Isolated") out.border = CharSplitter::Border::isolated;
  else if (behavior == "Removed") out.border = CharSplitter::Border::removed;
  else if (behavior == "MergedWithPrevious") out.border = CharSplitter::Border::with_previous;
  else if (behavior == "MergedWithNext") out.border = CharSplitter::Border::with_next;
  else return std::nullopt;
  if (out.mark.empty()) return std::nullopt;
  return out;
}

}  // namespace

Error unsupported_component(const std::string& what, const Json& node, const char* key) {
  const std::string type = type_of(node);
  return Error::unsupported(what + " of the kind \"" + (type.empty() ? "this form" : type) + "\" is not supported in tokenizer.json").at_key(key);
}

std::vector<SourcedText> CharSplitter::words(SourcedText text, bool at_start) const {
  if (kind == Kind::none || text.text.empty()) return {std::move(text)};
  if (kind == Kind::metaspace) {
    SourcedText marked;
    const bool wanted = prepend == Prepend::always || (prepend == Prepend::first && at_start);
    const bool there = text.text[0] == ' ' || text.text.compare(0, mark.size(), mark) == 0;
    if (wanted && !there) marked.append(mark, text.begins[0], text.begins[0]);
    for (std::size_t i = 0; i < text.text.size(); ++i) {
      if (text.text[i] == ' ') marked.append(mark, text.begins[i], text.ends[i]);
      else marked.append(text, i, i + 1);
    }
    if (!split) return {std::move(marked)};
    text = std::move(marked);
  }
  std::vector<SourcedText> out;
  const auto add = [&](std::size_t from, std::size_t to) { if (to > from) out.push_back(text.slice(from, to)); };
  std::size_t begin = 0, at = 0;
  while (true) {
    const auto found = text.text.find(mark, at);
    if (found == std::string::npos) break;
    at = found + mark.size();
    switch (border) {
      case Border::removed: add(begin, found); begin = at; break;
      case Border::isolated: add(begin, found); add(found, at); begin = at; break;
      case Border::with_previous: add(begin, at); begin = at; break;
      case Border::with_next: add(begin, found); begin = found; break;
    }
  }
  add(begin, text.text.size());
  return out;
}

Result<HubPreTokenizer> read_pre_tokenizer(const Json& node) {
  HubPreTokenizer out;
  if (node.is_null()) return out;
  const std::string type = type_of(node);
  if (type == "ByteLevel") {
    if (!node.value("use_regex", true)) return fail(Error::unsupported("a ByteLevel pre-tokenizer without an expression is not supported in tokenizer.json").at_key("/pre_tokenizer/use_regex"));
    out.bytes = PreTokenizer::gpt2;
    out.prefix_space = node.value("add_prefix_space", true);
    return out;
  }
  if (type == "Metaspace") {
    CORVID_TRY(out.chars, read_metaspace(node));
    return out;
  }
  if (type == "Split") {
    if (const auto split = literal_split(node)) {
      out.chars = *split;
      return out;
    }
  }
  if (type == "Sequence" && node.contains("pretokenizers") && node["pretokenizers"].is_array()) {
    const Json& parts = node["pretokenizers"];
    if (parts.size() == 1) return read_pre_tokenizer(parts[0]);
    if (parts.size() == 2 && type_of(parts[1]) == "ByteLevel" && !parts[1].value("add_prefix_space", true)) {
      const Json& first = parts[0];
      const bool regex = parts[1].value("use_regex", true);
      if (type_of(first) == "Digits" && first.value("individual_digits", false) && regex) {
        out.bytes = PreTokenizer::smollm;
        return out;
      }
      if (type_of(first) == "Split" && !regex && first.value("behavior", std::string()) == "Isolated" && !first.value("invert", false) && first.contains("pattern")) {
        const auto expression = first["pattern"].value("Regex", std::string());
        out.bytes = family_of(expression);
        if (out.bytes) return out;
        return fail(Error::unsupported("a pre-tokenizer by the expression " + expression + " is not supported in tokenizer.json").at_key("/pre_tokenizer"));
      }
    }
    std::string kinds;
    for (const Json& part : parts) kinds += (kinds.empty() ? "" : ", ") + type_of(part);
    return fail(Error::unsupported("a pre-tokenizer that is a sequence of " + kinds + " in this form is not supported in tokenizer.json").at_key("/pre_tokenizer"));
  }
  return fail(unsupported_component("a pre-tokenizer", node, "/pre_tokenizer"));
}

Result<HubDecoder> read_decoder(const Json& node) {
  HubDecoder out;
  const std::string type = type_of(node);
  if (node.is_null() || type == "ByteLevel" || type == "Fuse" || type == "WordPiece") return out;
  if (type == "ByteFallback") {
    out.bytes = true;
    return out;
  }
  if (type == "Metaspace") {
    out.space = node.value("replacement", std::string("\u2581"));
    const auto scheme = node.value("prepend_scheme", std::string(node.value("add_prefix_space", true) ? "always" : "never"));
    out.strip_leading = scheme != "never";
    return out;
  }
  if (type == "Replace" && node.contains("pattern") && node["pattern"].contains("String") && node.value("content", std::string()) == " ") {
    out.space = node["pattern"]["String"].get<std::string>();
    return out;
  }
  if (type == "Strip" && node.value("content", std::string()) == " " && node.value("start", 0) == 1 && node.value("stop", 0) == 0) {
    out.strip_leading = true;
    return out;
  }
  if (type == "Sequence" && node.contains("decoders") && node["decoders"].is_array()) {
    for (const Json& inner : node["decoders"]) {
      CORVID_TRY(const auto part, read_decoder(inner));
      if (!part.space.empty()) out.space = part.space;
      out.strip_leading = out.strip_leading || part.strip_leading;
      out.bytes = out.bytes || part.bytes;
    }
    return out;
  }
  return fail(unsupported_component("a decoder", node, "/decoder"));
}

}  // namespace corvid
