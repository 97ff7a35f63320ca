#include "llm/engine/saved_sequence.hpp"

#include <algorithm>

namespace corvid::llm {
namespace {

constexpr std::uint32_t kMagic = 0x51535643;  // "CVSQ"
constexpr std::uint32_t kVersion = 3;
constexpr std::uint32_t kOldVersion = 2;      // no tokenizer hash, one checksum
constexpr std::size_t kHead = 16;             // magic, version, size of the state
constexpr std::size_t kDigest = sizeof(Sha256Digest);

class Writer {
 public:
  template <class T>
  void number(T value) { append(&value, sizeof value); }
  void bytes(const void* data, std::size_t size) {
    number<std::uint64_t>(size);
    append(data, size);
  }
  void append(const void* data, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(data);
    out.insert(out.end(), first, first + size);
  }
  // SHA-256 of all so far. Every checksum goes on from the one before, so that the KV is hashed once.
  void checksum() {
    hash_.update(std::span(out).subspan(hashed_));
    hashed_ = out.size();
    Sha256 copy = hash_;
    const auto digest = copy.finish();
    append(digest.data(), digest.size());
  }
  std::vector<std::byte> out;

 private:
  Sha256 hash_;
  std::size_t hashed_ = 0;
};

bool matches(Sha256 hash, std::span<const std::byte> stored) {
  const auto digest = hash.finish();
  return std::memcmp(digest.data(), stored.data(), digest.size()) == 0;
}

Error damaged(std::size_t offset) { return Error::bad_input("the saved sequence is damaged: its checksum does not match").at_offset(offset); }

// Each page's side of `pages` in turn, with the bytes that hold the first `tokens`: [kv_heads, page_tokens, head_dim] keeps a head's
// tokens together. visit(layer, value, page, stretches of offset and size) → Status.
struct Stretch { std::size_t offset, size; };
template <class Visit>
Status each_side(const PagePool& pool, std::span<const PageId> pages, std::size_t tokens, Visit visit) {
  const auto& shape = pool.shape();
  const auto page_tokens = static_cast<std::size_t>(shape.page_tokens);
  const std::size_t row = static_cast<std::size_t>(shape.head_dim) * traits(shape.dtype).block_bytes;
  std::vector<Stretch> stretches(static_cast<std::size_t>(shape.kv_heads));
  for (std::size_t p = 0; p < pages.size() && p * page_tokens < tokens; ++p) {
    const std::size_t used = std::min(page_tokens, tokens - p * page_tokens);
    for (std::size_t h = 0; h < stretches.size(); ++h) stretches[h] = {h * page_tokens * row, used * row};
    for (std::int64_t l = 0; l < shape.layers; ++l) {
      for (const bool value : {false, true}) CORVID_TRY_STATUS(visit(l, value, pages[p], stretches));
    }
  }
  return {};
}

Result<SavedSequence> read_state(SavedReader& r, std::uint32_t version) {
  SavedSequence saved;
  CORVID_TRY(const auto identity, r.bytes());
  saved.identity = std::string_view(reinterpret_cast<const char*>(identity.data()), identity.size());
  if (version == kVersion) {
    CORVID_TRY(const auto tokenizer, r.take(kDigest));
    std::memcpy(saved.tokenizer.emplace().data(), tokenizer.data(), kDigest);
  }
  for (std::int64_t& n : saved.format) {
    CORVID_TRY(n, r.number<std::int64_t>());
  }
  CORVID_TRY(saved.ids, r.bytes());
  if (saved.ids.size() % sizeof(TokenId) != 0) return fail(Error::bad_input("the saved token ids end inside one").at_offset(r.offset()));
  return saved;
}

Status read_rest(SavedReader& r, SavedSequence& saved) {
  CORVID_TRY(saved.sampler, r.bytes());
  CORVID_TRY(const auto constrained, r.number<std::uint8_t>());
  if (constrained != 0) {
    CORVID_TRY(saved.constraint, r.bytes());
  }
  return {};
}

Result<SavedSequence> read_old(SavedReader& r) {
  CORVID_TRY(auto saved, read_state(r, kOldVersion));
  saved.has_kv = true;
  CORVID_TRY(saved.old_logits, r.bytes());
  CORVID_TRY_STATUS(read_rest(r, saved));
  saved.kv = r;
  return saved;
}

}  // namespace

KvFormat kv_format(const PageShape& shape) { return {shape.layers, shape.kv_heads, shape.head_dim, static_cast<std::int64_t>(shape.dtype)}; }

Sha256Digest tokenizer_hash(const Tokenizer& tokenizer) {
  Writer w;
  w.bytes(tokenizer.kind().data(), tokenizer.kind().size());
  w.number(tokenizer.vocab_size());
  for (std::int64_t i = 0; i < tokenizer.vocab_size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string bytes = tokenizer.token_bytes(id, true);
    w.bytes(bytes.data(), bytes.size());
    w.number<std::uint8_t>(tokenizer.is_control(id) ? 1 : 0);
  }
  const auto ends = tokenizer.end_of_generation();
  w.bytes(ends.data(), ends.size_bytes());
  Sha256 hash;
  hash.update(w.out);
  return hash.finish();
}

Result<std::vector<std::byte>> write_saved(const SavedParts& parts, const PagePool& pool, bool with_kv) {
  const auto& shape = pool.shape();
  Writer w;
  w.number(kMagic);
  w.number(kVersion);
  w.number<std::uint64_t>(0);
  w.bytes(parts.identity.data(), parts.identity.size());
  w.append(parts.tokenizer.data(), parts.tokenizer.size());
  for (const std::int64_t n : kv_format(shape)) w.number(n);
  w.bytes(parts.ids.data(), parts.ids.size_bytes());
  w.bytes(parts.sampler.data(), parts.sampler.size());
  w.number<std::uint8_t>(parts.constraint ? 1 : 0);
  if (parts.constraint) w.bytes(parts.constraint->data(), parts.constraint->size());
  w.number<std::uint8_t>(with_kv ? 1 : 0);
  const std::uint64_t state = w.out.size() - kHead;
  std::memcpy(w.out.data() + kHead - sizeof state, &state, sizeof state);
  w.checksum();
  if (!with_kv) return std::move(w.out);
  // Rows of the KV, the logits, two numbers and the checksum: grown at once, not by doubling.
  w.out.reserve(w.out.size() + parts.ids.size() * shape.bytes() / static_cast<std::size_t>(shape.page_tokens) + parts.logits.size_bytes() + 16 + kDigest);
  w.bytes(parts.logits.data(), parts.logits.size_bytes());
  w.number<std::uint64_t>(static_cast<std::uint64_t>(shape.page_tokens));
  std::vector<std::byte> side(shape.bytes_per_side());
  const auto append = [&](std::int64_t layer, bool value, PageId page, const std::vector<Stretch>& stretches) -> Status {
    CORVID_TRY_STATUS(pool.read(layer, value, page, side));
    for (const Stretch& stretch : stretches) w.append(side.data() + stretch.offset, stretch.size);
    return {};
  };
  CORVID_TRY_STATUS(each_side(pool, parts.pages, parts.ids.size(), append));
  w.checksum();
  return std::move(w.out);
}

Result<SavedSequence> read_saved(std::span<const std::byte> bytes, bool strict) {
  if (bytes.size() < kHead + kDigest) return fail(Error::bad_input("too short for a saved sequence").at_offset(bytes.size()));
  std::uint32_t magic = 0, version = 0;
  std::uint64_t size = 0;
  std::memcpy(&magic, bytes.data(), sizeof magic);
  std::memcpy(&version, bytes.data() + 4, sizeof version);
  std::memcpy(&size, bytes.data() + 8, sizeof size);
  const std::size_t end = bytes.size() - kDigest;     // where the last checksum lies
  const auto last = bytes.subspan(end);
  if (magic != kMagic || version != kVersion) {
    // Nothing to fall back to: whatever it is, it must be whole.
    Sha256 hash;
    hash.update(bytes.first(end));
    if (!matches(hash, last)) return fail(damaged(end));
    if (magic != kMagic) return fail(Error::bad_input("not a saved sequence").at_offset(0));
    if (version != kOldVersion) {
      return fail(Error::unsupported("a saved sequence of version " + std::to_string(version) + "; this program reads versions 2 and " + std::to_string(kVersion)).at_offset(4));
    }
    SavedReader r(bytes.subspan(8, end - 8), 8);
    return read_old(r);
  }
  if (size > end - kHead) return fail(damaged(end));
  const std::size_t state_end = kHead + static_cast<std::size_t>(size), kv_begin = state_end + kDigest;
  Sha256 hash;
  hash.update(bytes.first(state_end));
  if (!matches(hash, bytes.subspan(state_end))) return fail(damaged(state_end));
  SavedReader r(bytes.subspan(kHead, state_end - kHead), kHead);
  CORVID_TRY(auto saved, read_state(r, version));
  CORVID_TRY_STATUS(read_rest(r, saved));
  CORVID_TRY(const auto follows, r.number<std::uint8_t>());
  if (r.left() != 0) return fail(Error::bad_input("the saved sequence's state has bytes behind its end").at_offset(r.offset()));
  saved.has_kv = follows != 0;
  if (!saved.has_kv) {
    if (end != state_end) saved.kv_damage = "has bytes behind its end";
  } else if (end < kv_begin) {
    saved.kv_damage = "ends early";
  } else {
    hash.update(bytes.subspan(state_end, end - state_end));
    if (!matches(hash, last)) saved.kv_damage = "is damaged: its checksum does not match";
    else saved.kv = SavedReader(bytes.subspan(kv_begin, end - kv_begin), kv_begin);
  }
  if (strict && !saved.kv_damage.empty()) return fail(Error::bad_input("the saved sequence " + saved.kv_damage).at_offset(end));
  return saved;
}

Status read_kv(SavedSequence& saved, PagePool& pool, std::span<const PageId> pages, std::size_t tokens, std::size_t vocab, std::vector<float>& logits) {
  SavedReader& r = saved.kv;
  std::span<const std::byte> row = saved.old_logits;
  if (saved.tokenizer) {
    CORVID_TRY(row, r.bytes());
  }
  if (!row.empty() && row.size() != vocab * sizeof(float)) return fail(Error::bad_input("the saved logits do not fit the vocabulary").at_offset(r.offset()));
  const auto& shape = pool.shape();
  CORVID_TRY(const auto page_tokens, r.number<std::uint64_t>());
  if (page_tokens != static_cast<std::uint64_t>(shape.page_tokens)) return fail(Error::conflict("the sequence was saved with another page size"));
  std::vector<std::byte> side(shape.bytes_per_side());
  const auto fill = [&](std::int64_t layer, bool value, PageId page, const std::vector<Stretch>& stretches) -> Status {
    for (const Stretch& stretch : stretches) {
      CORVID_TRY(const auto part, r.take(stretch.size));
      std::memcpy(side.data() + stretch.offset, part.data(), stretch.size);
    }
    return pool.write(layer, value, page, side);
  };
  CORVID_TRY_STATUS(each_side(pool, pages, tokens, fill));
  if (r.left() != 0) return fail(Error::bad_input("the saved sequence has bytes behind its end").at_offset(r.offset()));
  logits.resize(row.size() / sizeof(float));
  if (!row.empty()) std::memcpy(logits.data(), row.data(), row.size());
  return {};
}

}  // namespace corvid::llm
