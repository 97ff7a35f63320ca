// The normalisers of tokenizer.json: Unicode forms, Lowercase, StripAccents, Strip, Replace, Prepend, and sequences of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "sourced_text.hpp"

namespace corvid {

class Normalizer {
 public:
  /// `node` may be null: nothing is changed. Errors: unsupported naming the kind, bad_input.
  static Result<Normalizer> read(const Json& node);

  bool empty() const noexcept { return steps_.empty(); }
  SourcedText apply(std::string_view text) const;  ///< of valid UTF-8

 private:
  enum class Kind : std::uint8_t { nfc, nfd, nfkc, nfkd, lowercase, strip_accents, strip, replace, prepend };
  struct Step {
    Kind kind = Kind::nfc;
    std::string from, to;             // replace; prepend has only `to`
    bool left = false, right = false;  // strip
  };
  Status add(const Json& node);
  static SourcedText run(const Step& step, SourcedText text);

  std::vector<Step> steps_;
};

}  // namespace corvid
