#include "agents/citations.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <unordered_set>

#include "agents/sentences.hpp"
#include "corvid/text/unicode.hpp"

namespace corvid {
namespace {

// Sentences of the passages that are embedded for one answer; more than this adds time and changes nothing that was seen.
constexpr std::size_t kMaxPassageSentences = 256;
// A sentence with fewer content words carries no claim ("Sure!", "Yes.") and is neither attributed nor reported.
constexpr std::size_t kMinContentWords = 2;

struct Marker {
  std::size_t begin = 0, end = 0;  // bytes of "[…]"
  std::vector<int> numbers;
};

// Reads "[3]" or "[1, 4]" at `at`.
std::optional<Marker> marker_at(std::string_view text, std::size_t at) {
  if (text[at] != '[') return std::nullopt;
  Marker marker{at, at, {}};
  std::size_t i = at + 1;
  while (true) {
    while (i < text.size() && text[i] == ' ') ++i;
    int number = 0;
    std::size_t digits = 0;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') {
      if (digits < 9) number = number * 10 + (text[i] - '0');
      ++digits;
      ++i;
    }
    if (digits == 0) return std::nullopt;
    marker.numbers.push_back(digits <= 9 ? number : -1);
    while (i < text.size() && text[i] == ' ') ++i;
    if (i >= text.size()) return std::nullopt;
    if (text[i] == ']') break;
    if (text[i] != ',') return std::nullopt;
    ++i;
  }
  marker.end = i + 1;
  return marker;
}

bool identifier(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ')'; }

struct Cleaned {
  std::string text;
  std::set<int> cited;
};

// Normalises the markers of one piece: known ones as [n] each, unknown ones taken out and reported. An index into something
// ("row[0]") or a number inside code is no citation: it is written "[ 0 ]", so that nothing is lost and nothing is misread.
Cleaned clean_markers(std::string_view piece, bool code, int passages, std::vector<std::string>& removed) {
  Cleaned out;
  bool ticks = false;
  for (std::size_t i = 0; i < piece.size();) {
    if (piece[i] == '`') ticks = !ticks;
    const auto marker = piece[i] == '[' ? marker_at(piece, i) : std::nullopt;
    if (!marker) {
      out.text += piece[i++];
      continue;
    }
    const bool subscript = i > 0 && (piece[i - 1] == '_' || (identifier(piece[i - 1]) && marker->numbers.size() == 1 && marker->numbers[0] == 0));
    if (code || ticks || subscript) {
      out.text += "[ ";
      out.text += piece.substr(marker->begin + 1, marker->end - marker->begin - 2);
      out.text += " ]";
    } else {
      bool any = false;
      for (const int n : marker->numbers) {
        if (n >= 1 && n <= passages) {
          out.text += '[' + std::to_string(n) + ']';
          out.cited.insert(n);
          any = true;
        } else {
          removed.emplace_back(piece.substr(marker->begin, marker->end - marker->begin));
        }
      }
      // Without its marker, "a claim [9]." must not keep the space before the full stop.
      if (!any && !out.text.empty() && out.text.back() == ' ') out.text.pop_back();
    }
    i = marker->end;
  }
  return out;
}

std::string with_marker(const std::string& sentence, int n) {
  std::size_t end = sentence.size();
  while (end > 0 && std::string_view(".!?\"')*_").find(sentence[end - 1]) != std::string_view::npos) --end;
  for (const std::string_view mark : {"。", "！", "？"}) {
    if (end >= mark.size() && std::string_view(sentence).substr(end - mark.size(), mark.size()) == mark) end -= mark.size();
  }
  return sentence.substr(0, end) + " [" + std::to_string(n) + "]" + sentence.substr(end);
}

// The numbers in a text ("12", "1,200", "3.5"), as they are written; an ordinal that only begins a list item is none.
std::vector<std::string_view> numbers_in(std::string_view text) {
  std::vector<std::string_view> found;
  const auto digit = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  std::size_t first = 0;
  while (first < text.size() && (text[first] == ' ' || text[first] == '\n')) ++first;
  for (std::size_t i = 0; i < text.size();) {
    if (!digit(i)) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (digit(end) || (end < text.size() && (text[end] == '.' || text[end] == ',') && digit(end + 1))) ++end;
    const bool ordinal = i == first && end < text.size() && (text[end] == '.' || text[end] == ')');
    if (!ordinal) found.push_back(text.substr(i, end - i));
    i = end;
  }
  return found;
}

float dot(const float* a, const float* b, std::size_t n) {
  float sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

Result<CheckedAnswer> check_citations(std::string_view answer, const std::vector<std::string_view>& passages, float threshold,
                                      EmbedTexts embed) {
  CheckedAnswer out;
  struct Piece {
    std::string text;
    bool open = false;  // a sentence that waits for attribution
  };
  std::vector<Piece> pieces;
  for (const auto& piece : split_sentences(answer)) {
    const bool code = piece.kind == TextPiece::Kind::code;
    auto cleaned = clean_markers(answer.substr(piece.begin, piece.end - piece.begin), code, static_cast<int>(passages.size()), out.removed);
    out.by_model.insert(cleaned.cited.begin(), cleaned.cited.end());
    const bool claim = piece.kind == TextPiece::Kind::sentence && cleaned.cited.empty() &&
                       content_words(unicode::lower(unicode::to_valid_utf8(cleaned.text))).size() >= kMinContentWords;
    pieces.push_back({std::move(cleaned.text), claim});
  }

  const auto open = static_cast<std::size_t>(std::count_if(pieces.begin(), pieces.end(), [](const Piece& p) { return p.open; }));
  if (open > 0 && passages.empty()) {
    for (const auto& piece : pieces) {
      if (piece.open) out.unsupported.push_back(piece.text);
    }
  } else if (open > 0) {
    // One batch: the open sentences, then every passage whole, then the passages' sentences.
    std::vector<std::string_view> texts;
    for (const auto& piece : pieces) {
      if (piece.open) texts.push_back(piece.text);
    }
    std::vector<std::size_t> owner;  // passage of each text behind the open sentences
    for (std::size_t p = 0; p < passages.size(); ++p) {
      texts.push_back(passages[p]);
      owner.push_back(p);
    }
    std::size_t sentences = 0;
    for (std::size_t p = 0; p < passages.size(); ++p) {
      for (const auto& piece : split_sentences(passages[p])) {
        if (piece.kind != TextPiece::Kind::sentence || sentences >= kMaxPassageSentences) continue;
        texts.push_back(passages[p].substr(piece.begin, piece.end - piece.begin));
        owner.push_back(p);
        ++sentences;
      }
    }
    CORVID_TRY(const std::vector<float> vectors, embed(texts));
    const std::size_t dimension = vectors.size() / texts.size();

    std::vector<std::string> lowered;
    std::vector<std::unordered_set<std::string_view>> words(passages.size());
    lowered.reserve(passages.size());
    for (std::size_t p = 0; p < passages.size(); ++p) {
      lowered.push_back(unicode::lower(unicode::to_valid_utf8(passages[p])));
      for (const auto word : content_words(lowered[p])) words[p].insert(word);
    }

    std::vector<std::unordered_set<std::string_view>> numbers(passages.size());
    for (std::size_t p = 0; p < passages.size(); ++p) {
      const auto all = numbers_in(passages[p]);
      numbers[p].insert(all.begin(), all.end());
    }

    std::size_t row = 0;
    for (auto& piece : pieces) {
      if (!piece.open) continue;
      std::vector<float> cosine(passages.size(), 0.0f);
      for (std::size_t t = 0; t < owner.size(); ++t) {
        const float similarity = dot(&vectors[row * dimension], &vectors[(open + t) * dimension], dimension);
        cosine[owner[t]] = std::max(cosine[owner[t]], similarity);
      }
      ++row;
      const std::string lower = unicode::lower(unicode::to_valid_utf8(piece.text));
      const auto sentence_words = content_words(lower);
      const auto sentence_numbers = numbers_in(piece.text);
      int best = -1;
      float best_score = threshold;
      for (std::size_t p = 0; p < passages.size(); ++p) {
        // A figure that the passage does not hold is the mark of an invented sentence, however similar the rest is.
        if (!std::all_of(sentence_numbers.begin(), sentence_numbers.end(), [&](auto n) { return numbers[p].contains(n); })) continue;
        const auto shared = std::count_if(sentence_words.begin(), sentence_words.end(), [&](auto w) { return words[p].contains(w); });
        const float score = 0.5f * cosine[p] + 0.5f * static_cast<float>(shared) / static_cast<float>(sentence_words.size());
        // ≥ for the first, > after it: of equals the better-ranked passage is named.
        if (best < 0 ? score >= best_score : score > best_score) {
          best = static_cast<int>(p) + 1;
          best_score = score;
        }
      }
      if (best < 0) {
        out.unsupported.push_back(piece.text);
      } else {
        piece.text = with_marker(piece.text, best);
        if (!out.by_model.contains(best)) out.by_attribution.insert(best);
      }
    }
  }
  for (const auto& piece : pieces) out.text += piece.text;
  return out;
}

}  // namespace corvid
