// A text under normalisation that remembers where each of its bytes came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corvid {

struct SourcedText {
  std::string text;
  std::vector<std::uint32_t> begins, ends;  // per byte of text: the source bytes [begins[i], ends[i]) it stands for

  SourcedText() = default;
  explicit SourcedText(std::string_view source) : text(source), begins(source.size()), ends(source.size()) {
    for (std::uint32_t i = 0; i < source.size(); ++i) {
      begins[i] = i;
      ends[i] = i + 1;
    }
  }

  void append(std::string_view bytes, std::uint32_t begin, std::uint32_t end) {
    text += bytes;
    begins.insert(begins.end(), bytes.size(), begin);
    ends.insert(ends.end(), bytes.size(), end);
  }
  /// Bytes [from, to) of another text, as they are.
  void append(const SourcedText& other, std::size_t from, std::size_t to) {
    text.append(other.text, from, to - from);
    begins.insert(begins.end(), other.begins.begin() + static_cast<std::ptrdiff_t>(from), other.begins.begin() + static_cast<std::ptrdiff_t>(to));
    ends.insert(ends.end(), other.ends.begin() + static_cast<std::ptrdiff_t>(from), other.ends.begin() + static_cast<std::ptrdiff_t>(to));
  }
  SourcedText slice(std::size_t from, std::size_t to) const {
    SourcedText out;
    out.append(*this, from, to);
    return out;
  }
};

}  // namespace corvid
