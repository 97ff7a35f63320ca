// WordCache: what the words seen last were encoded as. Bounded memory; one thread at a time, lent by a ScratchPool.
//
//   cache.through(text, at, size, base + at, out, [&](std::string_view word) { encode_word(word, base + at, out); });
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "byte_hash.hpp"
#include "corvid/text/tokenizer.hpp"
#include "merges.hpp"

namespace corvid {

class WordCache {
 public:
  static constexpr std::size_t kWordBytes = 31, kTokens = 14;

  /// A word's bytes, zeros after them, its size in the last byte.
  struct Key {
    std::uint64_t parts[4] = {0, 0, 0, 0};
    bool operator==(const Key&) const = default;
  };
  /// Tokens with their bytes within the word. Two cache lines.
  struct alignas(64) Entry {
    Key key;
    TokenId ids[kTokens];
    std::uint8_t begins[kTokens], ends[kTokens];
    std::uint32_t count;
  };
  static_assert(sizeof(Entry) == 128);

  /// text[at, at + size), 0 < size ≤ kWordBytes.
  static Key key_of(std::string_view text, std::size_t at, std::size_t size) noexcept {
    Key key;
    if (at + sizeof key <= text.size()) {
      std::memcpy(&key, text.data() + at, sizeof key);
      const std::size_t whole = size / 8;  // parts that the word fills
      if (const std::size_t rest = size % 8) key.parts[whole] &= ~std::uint64_t{0} >> (64 - 8 * rest);
      else key.parts[whole] = 0;
      for (std::size_t i = whole + 1; i < 4; ++i) key.parts[i] = 0;
    } else {
      std::memcpy(&key, text.data() + at, size);
    }
    reinterpret_cast<unsigned char*>(&key)[sizeof key - 1] = static_cast<unsigned char>(size);
    return key;
  }

  /// Null when the word is not there. Valid until the next put().
  const Entry* find(const Key& key) const noexcept {
    if (!entries_) return nullptr;
    const Entry* set = entries_.get() + set_of(key);
    return set[0].key == key ? set : set[1].key == key ? set + 1 : nullptr;
  }

  /// The same for words that are longer or of more tokens; their ranges count from the word's begin.
  const std::vector<TokenSpan>* find_long(std::string_view word) const noexcept {
    const auto found = long_.find(word);
    return found == long_.end() ? nullptr : &found->second;
  }
  void put_long(std::string_view word, std::span<const TokenSpan> tokens, std::size_t base) {
    if (word.size() > kLongBytes) return;
    if (long_.size() >= kLongWords) long_.clear();
    auto& kept = long_[std::string(word)];
    kept.assign(tokens.begin(), tokens.end());
    for (TokenSpan& token : kept) {
      token.begin -= static_cast<std::uint32_t>(base);
      token.end -= static_cast<std::uint32_t>(base);
    }
  }
  static void append(const std::vector<TokenSpan>& tokens, std::size_t base, std::vector<TokenSpan>& out) {
    const auto at = static_cast<std::uint32_t>(base);
    for (const TokenSpan& token : tokens) out.push_back({token.id, at + token.begin, at + token.end});
  }

  /// Appends the tokens of text[at, at + size), which stands at `base`; `encode` does so for a word that is not kept yet.
  template <class Encode>
  void through(std::string_view text, std::size_t at, std::size_t size, std::size_t base, std::vector<TokenSpan>& out, Encode&& encode) {
    Key key;
    if (size <= kWordBytes) {
      key = key_of(text, at, size);
      if (const Entry* known = find(key)) return append(*known, base, out);
    }
    const std::string_view word = text.substr(at, size);
    if (const auto* known = find_long(word)) return append(*known, base, out);
    const std::size_t before = out.size();
    encode(word);
    const auto tokens = std::span(out).subspan(before);
    if (size <= kWordBytes && tokens.size() <= kTokens) put(key, tokens, base);
    else put_long(word, tokens, base);
  }

  /// Keeps a word of at most kTokens tokens, whose ranges count from `base`.
  void put(const Key& key, std::span<const TokenSpan> tokens, std::size_t base) {
    if (!entries_) {
      // Fresh pages are zero and cost nothing until a word falls on them.
      entries_.reset(static_cast<Entry*>(std::calloc(kEntries + 1, sizeof(Entry))));
      if (!entries_) throw std::bad_alloc();
    }
    Entry* set = entries_.get() + set_of(key);
    set[1] = set[0];
    set[0].key = key;
    set[0].count = static_cast<std::uint32_t>(tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      set[0].ids[i] = tokens[i].id;
      set[0].begins[i] = static_cast<std::uint8_t>(tokens[i].begin - base);
      set[0].ends[i] = static_cast<std::uint8_t>(tokens[i].end - base);
    }
  }

  /// Appends an entry's tokens for a word that stands at `base`.
  static void append(const Entry& entry, std::size_t base, std::vector<TokenSpan>& out) {
    const auto at = static_cast<std::uint32_t>(base);
    for (std::uint32_t i = 0; i < entry.count; ++i) out.push_back({entry.ids[i], at + entry.begins[i], at + entry.ends[i]});
  }

 private:
  static constexpr std::size_t kEntries = 16384;  // 2 MiB, two ways
  static std::size_t set_of(const Key& key) noexcept {
    const std::uint64_t h = mix_bits(key.parts[0] ^ (key.parts[1] * 0xA24BAED4963EE407ull) ^ (key.parts[2] * 0x9FB21C651E98DF25ull) ^ (key.parts[3] * 0xC2B2AE3D27D4EB4Full));
    return static_cast<std::size_t>(h % (kEntries / 2)) * 2;
  }
  struct Free {
    void operator()(Entry* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<Entry[], Free> entries_;

  static constexpr std::size_t kLongBytes = 192, kLongWords = 1024;  // at most 3 MiB
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return static_cast<std::size_t>(hash_bytes(text)); }
  };
  std::unordered_map<std::string, std::vector<TokenSpan>, Hash, std::equal_to<>> long_;
};

/// What one call of encode() works in, kept for the next so that a word costs no allocation.
struct EncodeScratch {
  WordCache cache;
  std::vector<std::uint32_t> lengths;    // of words
  std::vector<Merges::Symbol> symbols;
  std::vector<std::uint32_t> from;
  std::string text;
};

/// Lends scratch to calls at once; keeps a few.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Lease() { pool_.give(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch& operator*() const noexcept { return *scratch_; }
    EncodeScratch* operator->() const noexcept { return scratch_.get(); }

   private:
    ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

 private:
  static constexpr std::size_t kKept = 4;

  std::unique_ptr<EncodeScratch> take() {
    {
      std::lock_guard lock(mutex_);
      if (!kept_.empty()) {
        auto last = std::move(kept_.back());
        kept_.pop_back();
        return last;
      }
    }
    return std::make_unique<EncodeScratch>();
  }
  void give(std::unique_ptr<EncodeScratch> scratch) noexcept {
    std::lock_guard lock(mutex_);
    if (kept_.size() < kKept) kept_.push_back(std::move(scratch));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> kept_ = reserved();
  static std::vector<std::unique_ptr<EncodeScratch>> reserved() {
    std::vector<std::unique_ptr<EncodeScratch>> list;
    list.reserve(kKept);  // give() must not throw
    return list;
  }
};

}  // namespace corvid
