// What a Sequence holds, and the engine's side of it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "corvid/base/hash.hpp"
#include "corvid/llm/sequence.hpp"
#include "corvid/runtime/runtime.hpp"
#include "llm/engine/step.hpp"
#include "llm/sampling/sampler.hpp"

namespace corvid::llm {

/// What sequences need of their engine. Keeps the pool, the weights and the thread alive.
class SequenceHost {
 public:
  virtual ~SequenceHost() = default;
  /// Runs `job` on the engine's thread between two steps and waits for it.
  virtual Status on_engine(std::function<Status(Stepper&)> job) = 0;
  virtual Runtime& runtime() = 0;
  virtual const std::string& model_identity() const = 0;
  virtual std::size_t sequence_limit() const = 0;  ///< tokens
  virtual std::size_t chunk_tokens() const = 0;
  virtual double prefill_ms_per_token() const = 0;
  virtual void note_prefill(std::size_t tokens, double ms) = 0;
  virtual double disk_bytes_per_s() const = 0;
  virtual const Sha256Digest& tokenizer_hash() = 0;  ///< of all tokens' bytes and roles; computed when first asked for
  virtual bool make_room() = 0;                    ///< drops a cached prefix; false: there is none. On the engine's thread
};

}  // namespace corvid::llm

namespace corvid {

struct Sequence::Impl {
  Impl(std::shared_ptr<llm::SequenceHost> host_, std::shared_ptr<llm::PagePool> pool) : host(std::move(host_)), run(std::move(pool)) {}
  std::shared_ptr<llm::SequenceHost> host;
  llm::TokenRun run;
  std::vector<float> logits;                   // [vocab] after the last token; empty before any
  std::optional<llm::Sampler> sampler;
  std::shared_ptr<TokenConstraint> constraint;
};

/// `recompute`: what Engine::restore_or_recompute says; else Engine::restore_sequence.
Result<RestoredSequence> restore_sequence(std::shared_ptr<llm::SequenceHost> host, std::shared_ptr<llm::PagePool> pool, std::int64_t vocab,
                                          std::span<const std::byte> bytes, const ConstraintFactory& constraints, bool recompute);

}  // namespace corvid
