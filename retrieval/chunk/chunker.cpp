// The element is tokenized once; every cut is chosen among the borders of those tokens, so the cost is linear in the text. A chunk is then
// counted again by itself, since a tokenizer may see a cut word otherwise, and shortened in the rare case that it grew.
#include "corvid/retrieval/chunker.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "retrieval/chunk/utf8.hpp"

namespace corvid {
namespace {

constexpr std::size_t kMaxGapBytes = 256;  // of white space looked at around a border

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The same length in bytes, valid UTF-8: places found in it hold in the original.
std::string same_length_utf8(std::string_view text) { return retrieval::replace_invalid(text, "?"); }

Result<std::size_t> count_tokens(const Tokenizer& tokenizer, std::string_view text) {
  EncodeOptions options;
  options.add_special = false;
  CORVID_TRY(const auto ids, tokenizer.encode(text, options));
  return ids.size();
}

enum Separator : int { kNone = 0, kWord = 1, kSentence = 2, kLine = 3, kParagraph = 4 };

// What separates the text before and after `at`, and where the text after it begins.
struct Border {
  int separator = kNone;
  std::size_t next = 0;
};

Border border_at(std::string_view text, std::size_t at) {
  std::size_t begin = at, end = at;
  while (begin > 0 && at - begin < kMaxGapBytes && is_blank(text[begin - 1])) --begin;
  while (end < text.size() && end - at < kMaxGapBytes && is_blank(text[end])) ++end;
  Border out{kNone, end};
  if (begin == end) return out;
  const auto gap = text.substr(begin, end - begin);
  const auto newlines = std::count(gap.begin(), gap.end(), '\n');
  const char before = begin > 0 ? text[begin - 1] : '\n';
  if (newlines > 1) out.separator = kParagraph;
  else if (newlines == 1) out.separator = kLine;
  else if (before == '.' || before == '!' || before == '?') out.separator = kSentence;
  else out.separator = kWord;
  return out;
}

int rank(int separator, ChunkMethod method) {
  if (method == ChunkMethod::recursive) return separator;
  return separator == kSentence || separator == kParagraph ? kParagraph : separator;  // sentence: both end one
}

struct Piece {
  std::size_t begin = 0, end = 0;  // bytes of the element's text, trimmed
};

class Cutter {
 public:
  Cutter(std::string_view text, const std::vector<TokenSpan>& tokens, std::size_t budget, const ChunkOptions& options)
      : text_(text), tokens_(tokens), budget_(budget), options_(options) {}

  // `fits` counts the piece by itself.
  template <class Fits>
  Result<std::vector<Piece>> cut(const Fits& fits) const {
    std::vector<Piece> out;
    std::size_t first = 0, begin = 0;
    while (first < tokens_.size()) {
      std::size_t allowed = budget_;
      while (true) {
        const std::size_t last = choose_end(first, allowed);
        std::size_t end = last == tokens_.size() ? text_.size() : border_at(text_, tokens_[last].begin).next;
        const Piece piece = trim({begin, end});
        if (piece.begin == piece.end) {
          first = last;
          begin = end;
          break;
        }
        CORVID_TRY(const bool fitting, fits(piece));
        if (!fitting && allowed > 1 && last > first + 1) {
          allowed = std::min(allowed, last - first) * 7 / 8;
          if (allowed == 0) allowed = 1;
          continue;
        }
        out.push_back(piece);
        if (last == tokens_.size()) return out;
        const std::size_t next = choose_start(first, last);
        begin = next == last ? end : border_at(text_, tokens_[next].begin).next;
        first = next;
        break;
      }
    }
    return out;
  }

 private:
  bool is_border(std::size_t token) const { return token > 0 && tokens_[token].begin >= tokens_[token - 1].end; }

  // One past the last token of a piece that begins at `first`.
  std::size_t choose_end(std::size_t first, std::size_t allowed) const {
    const std::size_t furthest = std::min(tokens_.size(), first + std::max<std::size_t>(allowed, 1));
    if (furthest == tokens_.size()) return furthest;
    std::size_t best = 0;
    int best_rank = -1;
    for (std::size_t at = furthest; at > first + (furthest - first) / 2; --at) {
      if (!is_border(at)) continue;
      const int r = rank(border_at(text_, tokens_[at].begin).separator, options_.method);
      if (r > best_rank) {
        best = at;
        best_rank = r;
      }
      if (best_rank == kParagraph) break;
    }
    if (best_rank >= 0) return best;
    // No border between whole characters: on to the next one, so that every piece has text.
    std::size_t at = furthest;
    while (at < tokens_.size() && !is_border(at)) ++at;
    return at;
  }

  // Where the next piece begins: up to the overlap before `last`, at the strongest separator, the longest overlap among equals.
  std::size_t choose_start(std::size_t first, std::size_t last) const {
    const auto overlap = static_cast<std::size_t>(static_cast<float>(budget_) * options_.overlap);
    const std::size_t lowest = std::max(first + 1, last > overlap ? last - overlap : 0);
    std::size_t best = last;
    int best_rank = kNone;
    for (std::size_t at = last - 1; at >= lowest && at > first; --at) {
      if (!is_border(at)) continue;
      const int r = std::min<int>(border_at(text_, tokens_[at].begin).separator, kSentence);
      if (r > kNone && r >= best_rank) {
        best = at;
        best_rank = r;
      }
    }
    return best;
  }

  Piece trim(Piece piece) const {
    while (piece.begin < piece.end && is_blank(text_[piece.begin])) ++piece.begin;
    while (piece.end > piece.begin && is_blank(text_[piece.end - 1])) --piece.end;
    return piece;
  }

  std::string_view text_;
  const std::vector<TokenSpan>& tokens_;
  std::size_t budget_;
  const ChunkOptions& options_;
};

// A heading that has sections below it and no text of its own: they carry it.
bool only_heading(const std::vector<Element>& elements, std::size_t i) {
  const Element& element = elements[i];
  if (!element.verbatim || element.heading.empty() || i + 1 >= elements.size()) return false;
  const Element& next = elements[i + 1];
  if (next.heading.size() <= element.heading.size() || !std::equal(element.heading.begin(), element.heading.end(), next.heading.begin())) return false;
  const auto& text = element.text;
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || text[first] != '#') return false;
  const std::size_t line_end = text.find('\n', first);
  return line_end == std::string::npos || text.find_first_not_of(" \t\r\n", line_end) == std::string::npos;
}

class DocumentChunker {
 public:
  DocumentChunker(const Tokenizer& tokenizer, const ChunkOptions& options) : tokenizer_(tokenizer), options_(options) {}

  Status add(const Element& element, std::vector<Chunk>& out) {
    const std::string valid = same_length_utf8(element.text);
    std::vector<std::string> heading = element.heading;
    CORVID_TRY(std::size_t taken, heading_tokens(heading));
    // A heading may take half of the budget; beyond it the outermost names go first.
    while (!heading.empty() && taken > options_.tokens / 2) {
      heading.erase(heading.begin());
      CORVID_TRY(taken, heading_tokens(heading));
    }
    const std::size_t budget = options_.tokens - taken;
    EncodeOptions encode;
    encode.add_special = false;
    CORVID_TRY(std::vector<TokenSpan> tokens, tokenizer_.encode_spans(valid, encode));
    const Cutter cutter(valid, tokens, budget, options_);
    Chunk made;
    const auto fits = [&](const Piece& piece) -> Result<bool> {
      made.text = element.text.substr(piece.begin, piece.end - piece.begin);
      made.embedded_text = with_headings(heading, made.text);
      CORVID_TRY(const std::size_t count, count_tokens(tokenizer_, made.embedded_text));
      made.tokens = static_cast<std::uint32_t>(count);
      return count <= options_.tokens;
    };
    std::size_t counted = 0;
    std::uint64_t line = element.lines.first;
    // Pieces begin in order: lines are counted from one beginning to the next.
    CORVID_TRY(const std::vector<Piece> pieces, cutter.cut(fits));
    for (const Piece& piece : pieces) {
      CORVID_TRY([[maybe_unused]] const bool fitting, fits(piece));
      Chunk chunk = std::move(made);
      made = Chunk{};
      line += static_cast<std::uint64_t>(std::count(valid.begin() + static_cast<std::ptrdiff_t>(counted), valid.begin() + static_cast<std::ptrdiff_t>(piece.begin), '\n'));
      counted = piece.begin;
      chunk.bytes = element.bytes;
      chunk.lines = element.lines;
      if (element.verbatim) chunk.bytes = {element.bytes.begin + piece.begin, element.bytes.begin + piece.end};
      if (element.verbatim || element.page)
        chunk.lines = {line, line + static_cast<std::uint64_t>(std::count(chunk.text.begin(), chunk.text.end(), '\n'))};
      chunk.page = element.page;
      chunk.heading = element.heading;
      chunk.metadata = element.metadata;
      out.push_back(std::move(chunk));
    }
    return {};
  }

  // Extracted blocks of one heading, joined while they fit.
  Status add_blocks(const std::vector<Element>& elements, std::size_t begin, std::size_t end, std::vector<Chunk>& out) {
    Element joined;
    std::size_t tokens = 0;
    for (std::size_t i = begin; i < end; ++i) {
      CORVID_TRY(const std::size_t count, count_tokens(tokenizer_, same_length_utf8(elements[i].text)));
      // Room for the heading and for a separator that a tokenizer may count.
      if (!joined.text.empty() && tokens + count + 1 > options_.tokens * 3 / 4) {
        CORVID_TRY_STATUS(add(joined, out));
        joined = Element{};
        tokens = 0;
      }
      if (joined.text.empty()) {
        joined = elements[i];
      } else {
        joined.text += "\n\n" + elements[i].text;
        joined.bytes.begin = std::min(joined.bytes.begin, elements[i].bytes.begin);
        joined.bytes.end = std::max(joined.bytes.end, elements[i].bytes.end);
        joined.lines.first = std::min(joined.lines.first, elements[i].lines.first);
        joined.lines.last = std::max(joined.lines.last, elements[i].lines.last);
      }
      tokens += count + 1;
    }
    return joined.text.empty() ? Status{} : add(joined, out);
  }

 private:
  Result<std::size_t> heading_tokens(const std::vector<std::string>& heading) const {
    if (heading.empty()) return std::size_t{0};
    return count_tokens(tokenizer_, with_headings(heading, ""));
  }

  const Tokenizer& tokenizer_;
  const ChunkOptions& options_;
};

}  // namespace

std::string with_headings(const std::vector<std::string>& heading, const std::string& text) {
  std::string out;
  for (const auto& name : heading) {
    if (!out.empty()) out += " > ";
    out += name;
  }
  if (!out.empty()) out += "\n\n";
  return retrieval::valid_utf8(out + text);
}

Result<std::vector<Chunk>> chunk_document(const Document& document, const Tokenizer& tokenizer, const ChunkOptions& options) {
  if (options.tokens < 8) return fail(Error::invalid_argument("a chunk needs a budget of at least 8 tokens").at_key("tokens"));
  if (!(options.overlap >= 0.0f && options.overlap <= 0.5f)) return fail(Error::invalid_argument("the overlap lies between 0 and 0.5").at_key("overlap"));
  std::vector<Chunk> out;
  DocumentChunker chunker(tokenizer, options);
  const auto& elements = document.elements;
  for (std::size_t i = 0; i < elements.size();) {
    const Element& element = elements[i];
    if (element.verbatim || element.page) {
      if (!only_heading(elements, i)) CORVID_TRY_STATUS(chunker.add(element, out));
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    while (end < elements.size() && !elements[end].verbatim && !elements[end].page && elements[end].heading == element.heading) ++end;
    CORVID_TRY_STATUS(chunker.add_blocks(elements, i, end, out));
    i = end;
  }
  return out;
}

}  // namespace corvid
