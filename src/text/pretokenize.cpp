#include "pretokenize.hpp"

#include <array>

#include "corvid/text/unicode.hpp"
#include "lenient_utf8.hpp"

namespace corvid {
namespace {

enum class Class : std::uint8_t { letter, number, space, other, end };

Class class_of(char32_t c) {
  if (unicode::is_letter(c)) return Class::letter;
  if (unicode::is_number(c)) return Class::number;
  if (unicode::is_space(c)) return Class::space;
  return Class::other;
}

// Most characters are ASCII: their classes without a call.
constexpr std::array<Class, 128> kAscii = [] {
  std::array<Class, 128> table{};
  for (std::size_t c = 0; c < table.size(); ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) table[c] = Class::letter;
    else if (c >= '0' && c <= '9') table[c] = Class::number;
    else if (c == ' ' || (c >= '\t' && c <= '\r')) table[c] = Class::space;
    else table[c] = Class::other;
  }
  return table;
}();

// A stretch of a text and a cursor; each family below is a list of attempts in the order of its expression's alternatives.
class Splitter {
 public:
  Splitter(std::string_view text, std::size_t begin, std::size_t end, std::vector<std::uint32_t>& out)
      : text_(text.substr(0, end)), at_(begin), end_(end), out_(out) {}

  void gpt2() {
    while (at_ < end_) {
      if (text_[at_] == '\'' && contraction(false)) continue;
      const std::size_t start = at_ + (text_[at_] == ' ' ? 1 : 0);
      const Class next = class_at(start).kind;
      if (next == Class::letter || next == Class::number || next == Class::other) take(run(start, next));
      else white_space(false);
    }
  }

  void llama3(std::size_t digits) {
    while (at_ < end_) {
      const char head = text_[at_];
      if (head == '\'' && contraction(true)) continue;
      const auto [first, size] = class_at(at_);
      const bool line_end = head == '\r' || head == '\n';
      if (!line_end && first != Class::number && (first == Class::letter || class_at(at_ + size).kind == Class::letter)) {
        take(run(at_ + size, Class::letter));
        continue;
      }
      if (first == Class::number) {
        std::size_t stop = at_ + size;
        for (std::size_t n = 1; n < digits; ++n) {
          const auto next = class_at(stop);
          if (next.kind != Class::number) break;
          stop += next.size;
        }
        take(stop);
        continue;
      }
      const std::size_t start = at_ + (head == ' ' ? 1 : 0);
      if (class_at(start).kind == Class::other) {
        std::size_t stop = run(start, Class::other);
        while (stop < end_ && (text_[stop] == '\r' || text_[stop] == '\n')) ++stop;
        take(stop);
        continue;
      }
      white_space(true);
    }
  }

  // Each number alone; what lies between is split by itself, so white space before a number is at an end.
  static void smollm(std::string_view text, std::vector<std::uint32_t>& out) {
    const Splitter all(text, 0, text.size(), out);
    std::size_t begin = 0, at = 0;
    while (true) {
      const auto here = all.class_at(at);
      if (here.kind != Class::number && here.kind != Class::end) {
        at += here.size;
        continue;
      }
      if (at > begin) Splitter(text, begin, at, out).gpt2();
      if (here.kind == Class::end) return;
      out.push_back(static_cast<std::uint32_t>(here.size));
      begin = at += here.size;
    }
  }

 private:
  struct Seen {
    Class kind;
    std::size_t size;  // bytes
  };

  Seen class_at(std::size_t at) const {
    if (at >= end_) return {Class::end, 0};
    const auto byte = static_cast<unsigned char>(text_[at]);
    if (byte < 0x80) return {kAscii[byte], 1};
    std::size_t next = at;
    const char32_t c = next_lenient_code_point(text_, next);
    return {class_of(c), next - at};
  }
  // Where the run of one class that begins at `at` ends.
  std::size_t run(std::size_t at, Class wanted) const {
    while (true) {
      while (at < end_ && static_cast<unsigned char>(text_[at]) < 0x80) {
        if (kAscii[static_cast<unsigned char>(text_[at])] != wanted) return at;
        ++at;
      }
      const Seen seen = class_at(at);
      if (seen.kind != wanted) return at;
      at += seen.size;
    }
  }
  void take(std::size_t stop) {
    out_.push_back(static_cast<std::uint32_t>(stop - at_));
    at_ = stop;
  }
  bool contraction(bool any_case) {
    const auto letter = [&](std::size_t at) {
      const char c = at < end_ ? text_[at] : '\0';
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    if (any_case && text_.substr(at_ + 1, 2) == "\u017F") {  // the long s folds to s
      take(at_ + 3);
      return true;
    }
    const char a = letter(at_ + 1), b = letter(at_ + 2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
      take(at_ + 2);
      return true;
    }
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) {
      take(at_ + 3);
      return true;
    }
    return false;
  }
  // \s*[\r\n]+ where line ends count, else \s+(?!\S), else \s+.
  void white_space(bool line_ends) {
    std::size_t stop = at_, last = at_, after_line = at_;
    for (Seen seen = class_at(stop); seen.kind == Class::space; seen = class_at(stop)) {
      last = stop;
      stop += seen.size;
      if (text_[last] == '\r' || text_[last] == '\n') after_line = stop;
    }
    if (line_ends && after_line > at_) return take(after_line);
    take(last > at_ && stop < end_ ? last : stop);
  }

  std::string_view text_;
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

void pre_tokenize(PreTokenizer kind, std::string_view text, std::vector<std::uint32_t>& lengths) {
  lengths.clear();
  switch (kind) {
    case PreTokenizer::gpt2: Splitter(text, 0, text.size(), lengths).gpt2(); break;
    case PreTokenizer::smollm: Splitter::smollm(text, lengths); break;
    case PreTokenizer::llama3: Splitter(text, 0, text.size(), lengths).llama3(3); break;
    case PreTokenizer::qwen2: Splitter(text, 0, text.size(), lengths).llama3(1); break;
  }
}

}  // namespace corvid
