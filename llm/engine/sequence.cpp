#include "corvid/llm/sequence.hpp"

#include <chrono>
#include <cstring>
#include <new>

#include "corvid/llm/engine.hpp"
#include "llm/engine/saved_sequence.hpp"
#include "llm/engine/sequence_impl.hpp"

namespace corvid {
namespace {

// Reads `ids` behind those of `run`; cached prefixes give way where pages are short. On the engine's thread.
Status prefill(llm::SequenceHost& host, llm::Stepper& stepper, llm::TokenRun& run, std::span<const TokenId> ids, const CancellationToken& cancellation, std::vector<float>& last) {
  const auto start = std::chrono::steady_clock::now();
  auto status = stepper.prefill(run, ids, host.chunk_tokens(), cancellation, last);
  while (!status && status.error().code() == ErrorCode::out_of_memory && host.make_room()) status = stepper.prefill(run, ids, host.chunk_tokens(), cancellation, last);
  CORVID_TRY_STATUS(std::move(status));
  host.note_prefill(ids.size(), std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  return {};
}

bool keeps_kv(const Sequence::Impl& s, KeepKv keep) {
  if (keep != KeepKv::automatic) return keep == KeepKv::always;
  const auto& shape = s.run.pool()->shape();
  const double tokens = static_cast<double>(s.run.ids.size());
  const double bytes = tokens * static_cast<double>(shape.bytes()) / static_cast<double>(shape.page_tokens) + static_cast<double>(s.logits.size() * sizeof(float));
  const double recompute_ms = tokens * s.host->prefill_ms_per_token();
  // Not measured yet: kept, because pages that turn out not to be needed cost less than a wait that nobody foresaw.
  return recompute_ms == 0 || recompute_ms > 1e3 * bytes / s.host->disk_bytes_per_s();
}

template <class F>
auto or_out_of_memory(F work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return fail(Error::out_of_memory("no memory for a sequence's copy"));
  }
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
    CORVID_TRY_STATUS(prefill(*s.host, stepper, s.run, ids, cancellation, last));
    s.logits = std::move(last);
    return {};
  };
  return s.host->on_engine(job);
}

Result<std::vector<float>> Sequence::logits() const {
  if (impl_->logits.empty()) return fail(Error::invalid_argument("the sequence has no logits; append tokens first"));
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

Result<std::shared_ptr<ModelState>> Sequence::fork_state() const {
  return or_out_of_memory([&]() -> Result<std::shared_ptr<ModelState>> { return std::make_shared<Sequence>(fork()); });
}

Result<std::vector<std::byte>> Sequence::save_state() const {
  return or_out_of_memory([&] { return save({KeepKv::automatic}); });
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

Result<std::vector<std::byte>> Sequence::save(SaveOptions options) const {
  const Impl& s = *impl_;
  llm::SavedParts parts;
  parts.identity = s.host->model_identity();
  parts.tokenizer = s.host->tokenizer_hash();
  parts.ids = s.run.ids;
  const auto sampler = s.sampler ? s.sampler->save() : std::vector<std::byte>();
  parts.sampler = sampler;
  if (s.constraint) parts.constraint = s.constraint->save();
  parts.logits = s.logits;
  parts.pages = s.run.pages;
  return llm::write_saved(parts, *s.run.pool(), keeps_kv(s, options.keep_kv));
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

Result<RestoredSequence> restore_sequence(std::shared_ptr<llm::SequenceHost> host, std::shared_ptr<llm::PagePool> pool, std::int64_t vocab,
                                          std::span<const std::byte> bytes, const ConstraintFactory& constraints, bool recompute) {
  CORVID_TRY(auto saved, llm::read_saved(bytes, !recompute));
  std::string note;                                   // why the KV is made anew; empty where it is not, or never was kept
  if (saved.identity != host->model_identity()) {
    if (!recompute) return fail(Error::conflict("the sequence was saved from another model"));
    if (!saved.tokenizer) return fail(Error::conflict("the sequence was saved from another model, by a version that did not note its tokenizer"));
    if (*saved.tokenizer != host->tokenizer_hash()) return fail(Error::conflict("the sequence was saved from another model with another tokenizer: its tokens mean nothing to this one"));
    note = "it was saved from another model with the same tokenizer";
  } else if (saved.format != llm::kv_format(pool->shape())) {
    if (!recompute) return fail(Error::conflict("the sequence was saved with another KV format; load the model with the same precision"));
    note = "it was saved with another KV format";
  } else if (!saved.kv_damage.empty()) {
    note = "the saved sequence " + saved.kv_damage;
  }
  const std::size_t tokens = saved.ids.size() / sizeof(TokenId);
  if (tokens > host->sequence_limit()) {
    return fail(Error::limit_exceeded("the saved sequence has " + std::to_string(tokens) + " tokens; this engine's context holds " + std::to_string(host->sequence_limit())));
  }
  std::vector<TokenId> ids(tokens);
  if (tokens > 0) std::memcpy(ids.data(), saved.ids.data(), saved.ids.size());
  for (const TokenId id : ids) {
    if (id < 0 || id >= vocab) return fail(Error::bad_input("the saved token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab)));
  }
  auto impl = std::make_shared<Sequence::Impl>(std::move(host), std::move(pool));
  if (!saved.sampler.empty()) {
    CORVID_TRY(auto sampler, llm::Sampler::restore(saved.sampler));
    CORVID_TRY_STATUS(sampler.set_vocab(vocab));      // models of one tokenizer pad their embeddings differently
    impl->sampler = std::move(sampler);
  }
  if (saved.constraint) {
    if (!constraints) return fail(Error::invalid_argument("the sequence was saved under a constraint: give the factory that makes it again").at_key("constraints"));
    CORVID_TRY(impl->constraint, constraints(*saved.constraint));
  }
  const auto job = [&](llm::Stepper& stepper) -> Status {
    llm::TokenRun& run = impl->run;
    if (saved.has_kv && note.empty()) {
      auto status = run.reserve(tokens);
      while (!status && status.error().code() == ErrorCode::out_of_memory && impl->host->make_room()) status = run.reserve(tokens);
      if (status) status = llm::read_kv(saved, *run.pool(), run.pages, tokens, static_cast<std::size_t>(vocab), impl->logits);
      if (status) {
        run.ids = std::move(ids);
        return {};
      }
      const auto code = status.error().code();
      if (!recompute || (code != ErrorCode::bad_input && code != ErrorCode::conflict)) return status;
      note = status.error().message();
      run.clear();
    }
    if (tokens == 0) return {};
    return prefill(*impl->host, stepper, run, ids, {}, impl->logits);
  };
  CORVID_TRY_STATUS(impl->host->on_engine(job));
  if (!note.empty()) note += ": the KV of its " + std::to_string(tokens) + " tokens was computed again";
  return RestoredSequence{Sequence(std::move(impl)), std::move(note)};
}

}  // namespace corvid
