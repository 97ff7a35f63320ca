#include "corvid/llm/sequence.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "corvid/base/hash.hpp"
#include "corvid/llm/engine.hpp"
#include "llm/engine/sequence_impl.hpp"

namespace corvid {
namespace {

constexpr std::uint32_t kMagic = 0x51535643;  // "CVSQ"
constexpr std::uint32_t kVersion = 2;

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
  std::vector<std::byte> out;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
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
    if (size > bytes_.size() - at_) return fail(Error::bad_input("the saved sequence ends early").at_offset(at_));
    const auto part = bytes_.subspan(at_, static_cast<std::size_t>(size));
    at_ += static_cast<std::size_t>(size);
    return part;
  }
  std::size_t offset() const { return at_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

// Each page's side of `pages` in turn, with the bytes that hold the first `tokens`: [kv_heads, page_tokens, head_dim] keeps a head's
// tokens together. visit(layer, value, page, stretches of offset and size) → Status.
struct Stretch { std::size_t offset, size; };
template <class Visit>
Status each_side(const llm::PagePool& pool, std::span<const llm::PageId> pages, std::size_t tokens, Visit visit) {
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

}  // namespace

Sequence::Sequence(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Sequence::Sequence(Sequence&&) noexcept = default;
Sequence& Sequence::operator=(Sequence&&) noexcept = default;
Sequence::~Sequence() = default;

Status Sequence::append_blocking(std::vector<TokenId> ids, CancellationToken cancellation) {
  Impl& s = *impl_;
  if (ids.empty()) return {};
  if (s.run.ids.size() + ids.size() > s.host->sequence_limit()) {
    return fail(Error::limit_exceeded("the sequence would have " + std::to_string(s.run.ids.size() + ids.size()) + " tokens; the context holds " + std::to_string(s.host->sequence_limit())));
  }
  const auto job = [&](llm::Stepper& stepper) -> Status {
    const auto vocab = stepper.config().vocab;
    for (const TokenId id : ids) {
      if (id < 0 || id >= vocab) return fail(Error::bad_input("token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab)));
    }
    std::vector<float> last;
    const auto start = std::chrono::steady_clock::now();
    CORVID_TRY_STATUS(stepper.prefill(s.run, ids, s.host->chunk_tokens(), cancellation, last));
    s.host->note_prefill(ids.size(), std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    s.logits = std::move(last);
    return {};
  };
  return s.host->on_engine(job);
}

Result<std::vector<float>> Sequence::logits() const {
  if (impl_->logits.empty()) return fail(Error::invalid_argument("an empty sequence has no logits; append tokens first"));
  return impl_->logits;
}

Sequence Sequence::fork() const {
  auto copy = std::make_shared<Impl>(impl_->host, impl_->run.pool());
  copy->run = impl_->run.fork();
  copy->logits = impl_->logits;
  copy->sampler = impl_->sampler;
  if (impl_->constraint) copy->constraint = impl_->constraint->fork();
  return Sequence(std::move(copy));
}

void Sequence::release() {
  impl_->run.clear();
  impl_->logits.clear();
}

std::span<const TokenId> Sequence::tokens() const noexcept { return impl_->run.ids; }

void Sequence::set_sampling(SamplingParams params, std::shared_ptr<TokenConstraint> constraint) {
  // Wrong parameters come out of sample(), which can say so.
  impl_->sampler.reset();
  impl_->constraint = std::move(constraint);
  std::int64_t vocab = 0;
  const auto job = [&](llm::Stepper& stepper) -> Status {
    vocab = stepper.config().vocab;
    return {};
  };
  if (!impl_->host->on_engine(job)) return;
  if (auto sampler = llm::Sampler::make(params, vocab)) impl_->sampler = std::move(*sampler);
}

Result<TokenId> Sequence::sample() {
  CORVID_TRY(auto row, logits());
  if (!impl_->sampler) {
    CORVID_TRY(auto sampler, llm::Sampler::make(SamplingParams{}, static_cast<std::int64_t>(row.size())));
    impl_->sampler = std::move(sampler);
  }
  CORVID_TRY(const auto token, impl_->sampler->sample(row, impl_->run.ids, impl_->constraint.get()));
  return token.id;
}

Result<std::vector<std::byte>> Sequence::save() const {
  const Impl& s = *impl_;
  const auto& pool = *s.run.pool();
  const auto& shape = pool.shape();
  Writer w;
  w.number(kMagic);
  w.number(kVersion);
  w.bytes(s.host->model_identity().data(), s.host->model_identity().size());
  for (const std::int64_t n : {shape.layers, shape.kv_heads, shape.head_dim, static_cast<std::int64_t>(shape.dtype)}) w.number(n);
  w.bytes(s.run.ids.data(), s.run.ids.size() * sizeof(TokenId));
  w.bytes(s.logits.data(), s.logits.size() * sizeof(float));
  const auto sampler = s.sampler ? s.sampler->save() : std::vector<std::byte>();
  w.bytes(sampler.data(), sampler.size());
  w.number<std::uint8_t>(s.constraint ? 1 : 0);
  if (s.constraint) {
    const auto constraint = s.constraint->save();
    w.bytes(constraint.data(), constraint.size());
  }
  w.number<std::uint64_t>(static_cast<std::uint64_t>(shape.page_tokens));
  std::vector<std::byte> side(shape.bytes_per_side());
  const auto append = [&](std::int64_t layer, bool value, llm::PageId page, const std::vector<Stretch>& stretches) -> Status {
    CORVID_TRY_STATUS(pool.read(layer, value, page, side));
    for (const Stretch& stretch : stretches) w.append(side.data() + stretch.offset, stretch.size);
    return {};
  };
  CORVID_TRY_STATUS(each_side(pool, s.run.pages, s.run.ids.size(), append));
  Sha256 hash;
  hash.update(w.out);
  const auto digest = hash.finish();
  w.append(digest.data(), digest.size());
  return std::move(w.out);
}

SequenceCost Sequence::cost() const {
  const Impl& s = *impl_;
  SequenceCost cost;
  const auto page = s.run.pool()->shape().bytes();
  cost.bytes_held = page * s.run.pages.size();
  for (const auto id : s.run.pages) cost.bytes_exclusive += s.run.pool()->shared(id) ? 0 : page;
  cost.recompute_ms = s.host->prefill_ms_per_token() * static_cast<double>(s.run.ids.size());
  return cost;
}

Result<Sequence> restore_sequence(std::shared_ptr<llm::SequenceHost> host, std::shared_ptr<llm::PagePool> pool, std::int64_t vocab,
                                  std::span<const std::byte> saved, const ConstraintFactory& constraints) {
  if (saved.size() < sizeof(Sha256Digest) + 8) return fail(Error::bad_input("too short for a saved sequence").at_offset(saved.size()));
  const auto body = saved.first(saved.size() - sizeof(Sha256Digest));
  Sha256 hash;
  hash.update(body);
  const auto digest = hash.finish();
  if (std::memcmp(digest.data(), saved.data() + body.size(), digest.size()) != 0) return fail(Error::bad_input("the saved sequence is damaged: its checksum does not match").at_offset(body.size()));
  Reader r(body);
  CORVID_TRY(const auto magic, r.number<std::uint32_t>());
  if (magic != kMagic) return fail(Error::bad_input("not a saved sequence").at_offset(0));
  CORVID_TRY(const auto version, r.number<std::uint32_t>());
  if (version != kVersion) return fail(Error::unsupported("a saved sequence of version " + std::to_string(version) + "; this program reads version " + std::to_string(kVersion)).at_offset(4));
  CORVID_TRY(const auto identity, r.bytes());
  if (std::string_view(reinterpret_cast<const char*>(identity.data()), identity.size()) != host->model_identity()) return fail(Error::conflict("the sequence was saved from another model"));
  const auto& shape = pool->shape();
  for (const std::int64_t n : {shape.layers, shape.kv_heads, shape.head_dim, static_cast<std::int64_t>(shape.dtype)}) {
    CORVID_TRY(const auto stored, r.number<std::int64_t>());
    if (stored != n) return fail(Error::conflict("the sequence was saved with another KV format; load the model with the same precision"));
  }
  CORVID_TRY(const auto ids, r.bytes());
  if (ids.size() % sizeof(TokenId) != 0 || ids.size() / sizeof(TokenId) > host->sequence_limit()) return fail(Error::limit_exceeded("the saved sequence is longer than this engine's context of " + std::to_string(host->sequence_limit()) + " tokens"));
  CORVID_TRY(const auto logits, r.bytes());
  if (!logits.empty() && logits.size() != static_cast<std::size_t>(vocab) * sizeof(float)) return fail(Error::bad_input("the saved logits do not fit the vocabulary").at_offset(r.offset()));
  CORVID_TRY(const auto sampler, r.bytes());
  CORVID_TRY(const auto constrained, r.number<std::uint8_t>());
  std::unique_ptr<TokenConstraint> constraint;
  if (constrained != 0) {
    CORVID_TRY(const auto state, r.bytes());
    if (!constraints) return fail(Error::invalid_argument("the sequence was saved under a constraint: give the factory that makes it again").at_key("constraints"));
    CORVID_TRY(constraint, constraints(state));
  }
  CORVID_TRY(const auto page_tokens, r.number<std::uint64_t>());
  if (page_tokens != static_cast<std::uint64_t>(shape.page_tokens)) return fail(Error::conflict("the sequence was saved with another page size"));

  auto impl = std::make_shared<Sequence::Impl>(std::move(host), std::move(pool));
  const std::size_t tokens = ids.size() / sizeof(TokenId);
  CORVID_TRY_STATUS(impl->run.reserve(tokens));
  impl->run.ids.resize(tokens);
  if (tokens > 0) std::memcpy(impl->run.ids.data(), ids.data(), ids.size());
  impl->logits.resize(logits.size() / sizeof(float));
  if (!logits.empty()) std::memcpy(impl->logits.data(), logits.data(), logits.size());
  impl->constraint = std::move(constraint);
  if (!sampler.empty()) {
    CORVID_TRY(auto restored, llm::Sampler::restore(sampler));
    impl->sampler = std::move(restored);
  }
  std::vector<std::byte> side(shape.bytes_per_side());
  llm::PagePool& pages = *impl->run.pool();
  const auto fill = [&](std::int64_t layer, bool value, llm::PageId page, const std::vector<Stretch>& stretches) -> Status {
    for (const Stretch& stretch : stretches) {
      CORVID_TRY(const auto part, r.take(stretch.size));
      std::memcpy(side.data() + stretch.offset, part.data(), stretch.size);
    }
    return pages.write(layer, value, page, side);
  };
  CORVID_TRY_STATUS(each_side(pages, impl->run.pages, tokens, fill));
  if (r.offset() != body.size()) return fail(Error::bad_input("the saved sequence has bytes behind its end").at_offset(r.offset()));
  return Sequence(std::move(impl));
}

}  // namespace corvid
