#include "pretokenize.hpp"

#include "corvid/text/unicode.hpp"

namespace corvid {
namespace {

enum class Class : std::uint8_t { letter, number, space, other, end };

Class class_of(char32_t c) {
  if (unicode::is_letter(c)) return Class::letter;
  if (unicode::is_number(c)) return Class::number;
  if (unicode::is_space(c)) return Class::space;
  return Class::other;
}

// One text with its classes and a cursor; each family below is a list of attempts in the order of its expression's alternatives.
class Splitter {
 public:
  Splitter(const std::vector<char32_t>& text, std::size_t begin, std::size_t end, std::vector<std::uint32_t>& out)
      : text_(text), at_(begin), end_(end), out_(out) {}

  void gpt2() {
    while (at_ < end_) {
      if (contraction(false)) continue;
      const std::size_t start = at_ + (at(0) == ' ' ? 1 : 0);
      const Class next = class_at(start - at_);
      if (next == Class::letter || next == Class::number || next == Class::other) {
        take(run(start - at_, next));
        continue;
      }
      white_space(false);
    }
  }

  void llama3(std::size_t digits) {
    while (at_ < end_) {
      if (contraction(true)) continue;
      const Class first = class_at(0);
      const bool line_end = at(0) == '\r' || at(0) == '\n';
      if (!line_end && first != Class::number && (first == Class::letter || class_at(1) == Class::letter)) {
        take(run(1, Class::letter));
        continue;
      }
      if (first == Class::number) {
        std::size_t n = 1;
        while (n < digits && class_at(n) == Class::number) ++n;
        take(n);
        continue;
      }
      const std::size_t skip = at(0) == ' ' ? 1 : 0;
      if (class_at(skip) == Class::other) {
        std::size_t n = run(skip, Class::other);
        while (at(n) == '\r' || at(n) == '\n') ++n;
        take(n);
        continue;
      }
      white_space(true);
    }
  }

 private:
  static constexpr char32_t kEnd = 0xFFFFFFFF;

  char32_t at(std::size_t i) const { return at_ + i < end_ ? text_[at_ + i] : kEnd; }
  Class class_at(std::size_t i) const { return at_ + i < end_ ? class_of(text_[at_ + i]) : Class::end; }
  // Length from the cursor to the end of the run of one class that begins at `from`.
  std::size_t run(std::size_t from, Class wanted) const {
    while (class_at(from) == wanted) ++from;
    return from;
  }
  void take(std::size_t n) {
    out_.push_back(static_cast<std::uint32_t>(n));
    at_ += n;
  }
  bool contraction(bool any_case) {
    if (at(0) != '\'') return false;
    const auto fold = [any_case](char32_t c) -> char32_t {
      if (any_case && c >= 'A' && c <= 'Z') return c + 32;
      if (any_case && c == 0x17F) return static_cast<char32_t>('s');  // the long s folds to s
      return c;
    };
    const char32_t a = fold(at(1));
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
      take(2);
      return true;
    }
    const char32_t b = fold(at(2));
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) {
      take(3);
      return true;
    }
    return false;
  }
  // \s*[\r\n]+ where line ends count, else \s+(?!\S), else \s+.
  void white_space(bool line_ends) {
    const std::size_t n = run(0, Class::space);
    if (line_ends) {
      for (std::size_t last = n; last > 0; --last) {
        if (at(last - 1) == '\r' || at(last - 1) == '\n') return take(last);
      }
    }
    take(n > 1 && at(n) != kEnd ? n - 1 : n);
  }

  const std::vector<char32_t>& text_;
  std::size_t at_, end_;
  std::vector<std::uint32_t>& out_;
};

}  // namespace

std::optional<PreTokenizer> pre_tokenizer_from_gguf(std::string_view name) {
  if (name == "gpt-2" || name == "default-gpt2") return PreTokenizer::gpt2;
  if (name == "smollm") return PreTokenizer::smollm;
  if (name == "llama3" || name == "llama-v3" || name == "llama-bpe") return PreTokenizer::llama3;
  if (name == "qwen2" || name == "deepseek-r1-qwen") return PreTokenizer::qwen2;
  return std::nullopt;
}

std::string_view to_string(PreTokenizer kind) noexcept {
  switch (kind) {
    case PreTokenizer::gpt2: return "gpt-2";
    case PreTokenizer::smollm: return "smollm";
    case PreTokenizer::llama3: return "llama-bpe";
    case PreTokenizer::qwen2: return "qwen2";
  }
  return "gpt-2";
}

std::vector<std::uint32_t> pre_tokenize(PreTokenizer kind, const std::vector<char32_t>& text) {
  std::vector<std::uint32_t> words;
  words.reserve(text.size() / 4 + 1);
  switch (kind) {
    case PreTokenizer::gpt2: Splitter(text, 0, text.size(), words).gpt2(); break;
    case PreTokenizer::smollm: {
      // Each number first stands alone; what lies between is split by itself, so white space before a number is at an end.
      std::size_t begin = 0;
      for (std::size_t i = 0; i <= text.size(); ++i) {
        if (i < text.size() && !unicode::is_number(text[i])) continue;
        if (i > begin) Splitter(text, begin, i, words).gpt2();
        if (i < text.size()) words.push_back(1);
        begin = i + 1;
      }
      break;
    }
    case PreTokenizer::llama3: Splitter(text, 0, text.size(), words).llama3(3); break;
    case PreTokenizer::qwen2: Splitter(text, 0, text.size(), words).llama3(1); break;
  }
  return words;
}

}  // namespace corvid
