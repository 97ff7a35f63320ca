// str, repr and json.dumps of values, byte for byte as Python writes them.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "llm/chat_template/text.hpp"
#include "llm/chat_template/value.hpp"

namespace corvid::llm::tmpl {

namespace {

constexpr std::size_t kDeepest = 100;

void check(const std::string& out, std::size_t max_bytes, std::size_t depth) {
  if (out.size() > max_bytes) raise(ErrorCode::limit_exceeded, "a text of over " + std::to_string(max_bytes) + " bytes is made", 0);
  if (depth > kDeepest) raise(ErrorCode::limit_exceeded, "values are nested deeper than 100 levels", 0);
}

void hex(std::string& out, const char* prefix, unsigned code, int digits) {
  out += prefix;
  for (int i = digits - 1; i >= 0; --i) out += "0123456789abcdef"[code >> (4 * i) & 15];
}

// Single quotes, unless the text has some and no double ones.
void repr_text(std::string& out, std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') (out += '\\') += c;
    else if (c == '\n') out += "\\n";
    else if (c == '\r') out += "\\r";
    else if (c == '\t') out += "\\t";
    else if (u < 0x20 || u == 0x7f) hex(out, "\\x", u, 2);
    else out += c;
  }
  out += quote;
}

void write_repr(std::string& out, const Value& value, std::size_t max_bytes, std::size_t depth) {
  check(out, max_bytes, depth);
  if (value.is<Undefined>()) { out += "Undefined"; return; }
  if (value.is<None>()) { out += "None"; return; }
  if (const auto* b = value.as<bool>()) { out += *b ? "True" : "False"; return; }
  if (const auto* i = value.as<std::int64_t>()) { out += std::to_string(*i); return; }
  if (const auto* d = value.as<double>()) { out += float_text(*d); return; }
  if (const auto* text = value.text()) { repr_text(out, *text); return; }
  const auto pairs = [&](const Dict& dict) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : dict.items) {
      if (!std::exchange(first, false)) out += ", ";
      write_repr(out, key, max_bytes, depth + 1);
      out += ": ";
      write_repr(out, item, max_bytes, depth + 1);
    }
    out += '}';
  };
  if (const auto* list = value.list(); list && !list->lazy) {
    out += list->tuple ? '(' : '[';
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      if (i) out += ", ";
      write_repr(out, list->items[i], max_bytes, depth + 1);
    }
    if (list->tuple && list->items.size() == 1) out += ',';
    out += list->tuple ? ')' : ']';
    return;
  }
  if (const auto* dict = value.dict()) { pairs(*dict); return; }
  if (const auto* ns = value.as<NamespaceP>()) {
    out += "<Namespace ";
    pairs((*ns)->attributes);
    out += '>';
    return;
  }
  raise(ErrorCode::unsupported, "a " + std::string(type_name(value)) + " cannot be written as text", 0);
}

void json_text(std::string& out, std::string_view text, bool ascii) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const auto u = static_cast<unsigned char>(text[i]);
    if (u < 0x80) {
      ++i;
      switch (u) {
        case '"': out += "\\\""; break;
        case '\\': out += "\\\\"; break;
        case '\n': out += "\\n"; break;
        case '\r': out += "\\r"; break;
        case '\t': out += "\\t"; break;
        case '\b': out += "\\b"; break;
        case '\f': out += "\\f"; break;
        default:
          if (u < 0x20) hex(out, "\\u", u, 4);
          else out += static_cast<char>(u);
      }
      continue;
    }
    const std::size_t n = char_bytes(text, i);
    if (!ascii) {
      out.append(text, i, n);
    } else {
      const std::uint32_t code = code_point(text, i);
      if (code >= 0x10000) {
        hex(out, "\\u", 0xd800 + ((code - 0x10000) >> 10), 4);
        hex(out, "\\u", 0xdc00 + ((code - 0x10000) & 0x3ff), 4);
      } else {
        hex(out, "\\u", code, 4);
      }
    }
    i += n;
  }
  out += '"';
}

struct JsonWriter {
  const JsonStyle& style;
  std::size_t max_bytes;
  std::size_t offset;
  std::string out;

  void line(std::size_t depth) {
    if (!style.lines) return;
    out += '\n';
    for (std::size_t i = 0; i < depth; ++i) out += style.indent;
  }

  std::string key_text(const Value& key) {
    if (const auto* text = key.text()) return *text;
    if (key.is<None>()) return "null";
    if (const auto* b = key.as<bool>()) return *b ? "true" : "false";
    if (key.is<std::int64_t>() || key.is<double>()) return to_text(key, max_bytes);
    raise(ErrorCode::bad_input, "JSON keys cannot be of type " + std::string(type_name(key)), offset);
  }

  void write(const Value& value, std::size_t depth) {
    check(out, max_bytes, depth);
    if (value.is<None>()) { out += "null"; return; }
    if (const auto* b = value.as<bool>()) { out += *b ? "true" : "false"; return; }
    if (const auto* i = value.as<std::int64_t>()) { out += std::to_string(*i); return; }
    if (const auto* d = value.as<double>()) {
      if (std::isnan(*d)) out += "NaN";
      else if (std::isinf(*d)) out += *d > 0 ? "Infinity" : "-Infinity";
      else out += float_text(*d);
      return;
    }
    if (const auto* text = value.text()) { json_text(out, *text, style.ensure_ascii); return; }
    if (const auto* list = value.list(); list && !list->lazy) {
      if (list->items.empty()) { out += "[]"; return; }
      out += '[';
      for (std::size_t i = 0; i < list->items.size(); ++i) {
        if (i) out += style.item_separator;
        line(depth + 1);
        write(list->items[i], depth + 1);
      }
      line(depth);
      out += ']';
      return;
    }
    if (const auto* dict = value.dict()) {
      if (dict->items.empty()) { out += "{}"; return; }
      std::vector<std::pair<std::string, const Value*>> pairs;
      for (const auto& [key, item] : dict->items) pairs.emplace_back(key_text(key), &item);
      if (style.sort_keys) std::stable_sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      out += '{';
      bool first = true;
      for (const auto& [key, item] : pairs) {
        if (!std::exchange(first, false)) out += style.item_separator;
        line(depth + 1);
        json_text(out, key, style.ensure_ascii);
        out += style.key_separator;
        write(*item, depth + 1);
      }
      line(depth);
      out += '}';
      return;
    }
    raise(ErrorCode::bad_input, "a value of type " + std::string(type_name(value)) + " cannot be written as JSON", offset);
  }
};

}  // namespace

// Python's repr: the shortest digits that read back, exponent form below 1e-4 and from 1e16.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[512];
  const double size = std::abs(value);
  const bool plain = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, plain ? std::chars_format::fixed : std::chars_format::scientific).ptr;
  std::string out(buffer, end);
  if (plain && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string to_text(const Value& value, std::size_t max_bytes) {
  if (value.is<Undefined>()) return {};
  if (const auto* text = value.text()) return *text;
  return repr(value, max_bytes);
}

std::string repr(const Value& value, std::size_t max_bytes) {
  std::string out;
  write_repr(out, value, max_bytes, 0);
  check(out, max_bytes, 0);
  return out;
}

std::string to_json_text(const Value& value, const JsonStyle& style, std::size_t max_bytes, std::size_t offset) {
  JsonWriter writer{style, max_bytes, offset, {}};
  writer.write(value, 0);
  check(writer.out, max_bytes, 0);
  return std::move(writer.out);
}

}  // namespace corvid::llm::tmpl
