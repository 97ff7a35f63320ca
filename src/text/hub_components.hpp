// Parts of tokenizer.json beside the model: how the text is split before it, and how tokens become text again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "pretokenize.hpp"
#include "sourced_text.hpp"

namespace corvid {

/// Error::unsupported that names the component's kind.
Error unsupported_component(const std::string& what, const Json& node, const char* key);

/// Before BPE over characters: Metaspace, or a split at a literal string, or nothing.
struct CharSplitter {
  enum class Kind : std::uint8_t { none, metaspace, literal };
  enum class Prepend : std::uint8_t { never, first, always };
  enum class Border : std::uint8_t { removed, isolated, with_previous, with_next };
  Kind kind = Kind::none;
  std::string mark = "\u2581";       // metaspace: stands for a space; literal: the pattern
  Prepend prepend = Prepend::always;
  Border border = Border::with_next;
  bool split = true;

  /// The words of a stretch; `at_start`: it begins where the whole text does.
  std::vector<SourcedText> words(SourcedText text, bool at_start) const;
};

struct HubPreTokenizer {
  std::optional<PreTokenizer> bytes;  ///< byte-level BPE of this family
  bool prefix_space = false;          ///< byte-level: a space before a text that does not begin with white space
  CharSplitter chars;                 ///< where `bytes` is not set
};
Result<HubPreTokenizer> read_pre_tokenizer(const Json& node);

struct HubDecoder {
  std::string space;                  ///< becomes a space; empty for none
  bool strip_leading = false;         ///< one space at the text's start goes
  bool bytes = false;                 ///< pieces <0xNN> become that byte
};
Result<HubDecoder> read_decoder(const Json& node);

}  // namespace corvid
