// The bytes of a saved sequence. Numbers are little-endian; `bytes` is a u64 size and that many bytes.
//
//   u32 magic, u32 version (3), u64 size of the state
//   state:  bytes model identity, 32 bytes tokenizer hash, i64 layers, kv_heads, head_dim, dtype of the KV, bytes token ids,
//           bytes sampler, u8 constrained [bytes constraint], u8 KV follows
//   SHA-256 of all before it: tokens, sampler and constraint can be trusted though what follows may be damaged
//   where KV follows: bytes logits, u64 page_tokens, KV rows; SHA-256 of all before it
//
// Version 2, still read: magic, version, the state without tokenizer hash and last u8 but with `bytes logits` behind the ids, page_tokens,
// KV rows, one SHA-256.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/hash.hpp"
#include "corvid/base/result.hpp"
#include "corvid/text/tokenizer.hpp"
#include "llm/kv/page_pool.hpp"

namespace corvid::llm {

/// Reads numbers and stretches; offsets in its errors count from the save's first byte.
class SavedReader {
 public:
  SavedReader() = default;
  SavedReader(std::span<const std::byte> bytes, std::size_t first_offset) : bytes_(bytes), first_(first_offset) {}
  template <class T>
  Result<T> number() {
    CORVID_TRY(const auto raw, take(sizeof(T)));
    T value;
    std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }
  Result<std::span<const std::byte>> bytes() {
    CORVID_TRY(const auto size, number<std::uint64_t>());
    return take(size);
  }
  Result<std::span<const std::byte>> take(std::uint64_t size) {
    if (size > bytes_.size() - at_) return fail(Error::bad_input("the saved sequence ends early").at_offset(offset()));
    const auto part = bytes_.subspan(at_, static_cast<std::size_t>(size));
    at_ += static_cast<std::size_t>(size);
    return part;
  }
  std::size_t offset() const { return first_ + at_; }
  std::size_t left() const { return bytes_.size() - at_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0, first_ = 0;
};

using KvFormat = std::array<std::int64_t, 4>;          // layers, kv_heads, head_dim, dtype
KvFormat kv_format(const PageShape& shape);

/// Equal where ids mean the same: kind, every token's bytes, which are control tokens, which end a text.
Sha256Digest tokenizer_hash(const Tokenizer& tokenizer);

/// A save taken apart; borrows its bytes.
struct SavedSequence {
  std::string_view identity;
  std::optional<Sha256Digest> tokenizer;               // version 2 has none
  KvFormat format{};
  std::span<const std::byte> ids, sampler;
  std::optional<std::span<const std::byte>> constraint;
  bool has_kv = false;
  SavedReader kv;                                      // at the logits; of version 2 at the page size
  std::span<const std::byte> old_logits;               // of version 2
  std::string kv_damage;                               // not empty: `kv` cannot be trusted, and why
};

/// Strict: all of it is intact, or bad_input. Else a damaged KV part is reported in kv_damage.
/// Errors: bad_input (byte offset), unsupported (a later version).
Result<SavedSequence> read_saved(std::span<const std::byte> saved, bool strict);

struct SavedParts {
  std::string_view identity;
  Sha256Digest tokenizer{};
  std::span<const TokenId> ids;
  std::span<const std::byte> sampler;
  std::optional<std::vector<std::byte>> constraint;
  std::span<const float> logits;
  std::span<const PageId> pages;
};
/// Errors: those of reading pages.
Result<std::vector<std::byte>> write_saved(const SavedParts& parts, const PagePool& pool, bool with_kv);

/// The KV part into `pages`, which hold the first `tokens`. Errors: bad_input (byte offset), conflict (page size), those of writing pages.
Status read_kv(SavedSequence& saved, PagePool& pool, std::span<const PageId> pages, std::size_t tokens, std::size_t vocab, std::vector<float>& logits);

}  // namespace corvid::llm
