#include "normalizers.hpp"

#include <algorithm>
#include <iterator>

#include "corvid/text/unicode.hpp"

namespace corvid {
namespace {

struct Range { char32_t first, last; };

// What Hugging Face's tokenizers leave as it is and where it is, because their tables are of an earlier Unicode: marks, compatibility
// characters and one vowel sign with its part. Found by asking that package for each character of Unicode 14.
constexpr Range kLater[] = {
    {0x7FD, 0x7FD}, {0x898, 0x89F}, {0x8CA, 0x8D3}, {0x9FE, 0x9FE}, {0xC3C, 0xC3C}, {0xD3B, 0xD3C}, {0xEBA, 0xEBA}, {0x1715, 0x1715}, {0x1ABF, 0x1ACE},
    {0x1DF6, 0x1DFA}, {0x32FF, 0x32FF}, {0xA7F2, 0xA7F4}, {0xA82C, 0xA82C}, {0xAB69, 0xAB69}, {0x10781, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
    {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
    {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};

bool is_later(char32_t c) {
  const auto after = std::upper_bound(std::begin(kLater), std::end(kLater), c, [](char32_t value, const Range& r) { return value < r.first; });
  return after != std::begin(kLater) && c <= std::prev(after)->last;
}

// Whether a character may join or change places with what stands before it when it is normalised.
bool extends(char32_t c, bool compatibility) {
  if (c < 0x300 || is_later(c)) return false;
  if (unicode::is_mark(c) || (c >= 0x1160 && c <= 0x11FF) || (c >= 0xD7B0 && c <= 0xD7FF)) return true;
  return compatibility && ((c >= 0x3131 && c <= 0x318E) || (c >= 0xFF9E && c <= 0xFFDC));
}

// Stretches that are normalised alone give together what the whole text gives; each keeps its place in the source.
template <class Form>
SourcedText by_stretch(const SourcedText& in, bool compatibility, Form form) {
  SourcedText out;
  for (std::size_t at = 0; at < in.text.size();) {
    const std::size_t begin = at;
    const char32_t first = unicode::next_code_point(in.text, at);
    if (is_later(first)) {
      out.append(in, begin, at);
      continue;
    }
    for (std::size_t next = at; next < in.text.size(); at = next) {
      if (!extends(unicode::next_code_point(in.text, next), compatibility)) break;
    }
    const std::string_view stretch = std::string_view(in.text).substr(begin, at - begin);
    if (first < 0x80 && stretch.size() == 1) {
      out.append(in, begin, at);
      continue;
    }
    const std::string formed = form(stretch);
    if (formed == stretch) out.append(in, begin, at);
    else out.append(formed, in.begins[begin], in.ends[at - 1]);
  }
  return out;
}

template <class Change>
SourcedText by_character(const SourcedText& in, Change change) {
  SourcedText out;
  for (std::size_t at = 0; at < in.text.size();) {
    const std::size_t begin = at;
    const char32_t c = unicode::next_code_point(in.text, at);
    out.append(change(c, std::string_view(in.text).substr(begin, at - begin)), in.begins[begin], in.ends[at - 1]);
  }
  return out;
}

SourcedText stripped(const SourcedText& in, bool left, bool right) {
  std::size_t first = in.text.size(), last = 0;
  for (std::size_t at = 0; at < in.text.size();) {
    const std::size_t begin = at;
    if (unicode::is_space(unicode::next_code_point(in.text, at))) continue;
    first = std::min(first, begin);
    last = at;
  }
  if (first >= last) return {};
  return in.slice(left ? first : 0, right ? last : in.text.size());
}

SourcedText replaced(const SourcedText& in, const std::string& from, const std::string& to) {
  SourcedText out;
  std::size_t at = 0;
  while (true) {
    const auto found = in.text.find(from, at);
    const std::size_t stop = found == std::string::npos ? in.text.size() : found;
    out.append(in, at, stop);
    if (found == std::string::npos) return out;
    out.append(to, in.begins[found], in.ends[found + from.size() - 1]);
    at = found + from.size();
  }
}

}  // namespace

Result<Normalizer> Normalizer::read(const Json& node) {
  Normalizer out;
  CORVID_TRY_STATUS(out.add(node));
  return out;
}

Status Normalizer::add(const Json& node) {
  if (node.is_null()) return {};
  const std::string type = node.is_object() ? node.value("type", std::string()) : std::string();
  Step step;
  if (type == "Sequence") {
    if (!node.contains("normalizers") || !node["normalizers"].is_array()) return fail(Error::bad_input("a sequence without its normalisers").at_key("/normalizer"));
    for (const Json& inner : node["normalizers"]) CORVID_TRY_STATUS(add(inner));
    return {};
  }
  if (type == "NFC") step.kind = Kind::nfc;
  else if (type == "NFD") step.kind = Kind::nfd;
  else if (type == "NFKC") step.kind = Kind::nfkc;
  else if (type == "NFKD") step.kind = Kind::nfkd;
  else if (type == "Lowercase") step.kind = Kind::lowercase;
  else if (type == "StripAccents") step.kind = Kind::strip_accents;
  else if (type == "Strip") {
    step.kind = Kind::strip;
    step.left = node.value("strip_left", true);
    step.right = node.value("strip_right", true);
  } else if (type == "Prepend") {
    step.kind = Kind::prepend;
    step.to = node.at("prepend").get<std::string>();
  } else if (type == "Replace") {
    const Json& pattern = node.at("pattern");
    if (!pattern.is_object() || !pattern.contains("String")) return fail(Error::unsupported("a Replace normaliser by a regular expression is not supported in tokenizer.json").at_key("/normalizer/pattern"));
    step.kind = Kind::replace;
    step.from = pattern["String"].get<std::string>();
    step.to = node.at("content").get<std::string>();
    if (step.from.empty()) return fail(Error::bad_input("a Replace normaliser has nothing to replace").at_key("/normalizer/pattern"));
  } else {
    return fail(Error::unsupported("a normaliser of the kind \"" + (type.empty() ? "this form" : type) + "\" is not supported in tokenizer.json").at_key("/normalizer"));
  }
  steps_.push_back(std::move(step));
  return {};
}

SourcedText Normalizer::run(const Step& step, SourcedText text) {
  switch (step.kind) {
    case Kind::nfc: return by_stretch(text, false, unicode::nfc);
    case Kind::nfd: return by_stretch(text, false, unicode::nfd);
    case Kind::nfkc: return by_stretch(text, true, unicode::nfkc);
    case Kind::nfkd: return by_stretch(text, true, unicode::nfkd);
    case Kind::lowercase:
      return by_character(text, [](char32_t c, std::string_view as_it_is) { return c == 0x130 ? std::string("i\u0307") : unicode::lower(as_it_is); });
    case Kind::strip_accents:
      return by_character(text, [](char32_t c, std::string_view as_it_is) { return unicode::is_mark(c) ? std::string() : std::string(as_it_is); });
    case Kind::strip: return stripped(text, step.left, step.right);
    case Kind::replace: return replaced(text, step.from, step.to);
    case Kind::prepend: {
      if (text.text.empty()) return text;
      SourcedText out;
      out.append(step.to, text.begins[0], text.begins[0]);
      out.append(text, 0, text.text.size());
      return out;
    }
  }
  return text;
}

SourcedText Normalizer::apply(std::string_view text) const {
  SourcedText out(text);
  for (const Step& step : steps_) out = run(step, std::move(out));
  return out;
}

}  // namespace corvid
