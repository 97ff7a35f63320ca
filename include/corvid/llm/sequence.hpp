// Sequence: a run of tokens and its KV pages; what graphs fork, join and checkpoint.
//
//   auto branch = trunk.fork();                 // shares pages, copies nothing
//   auto bytes = trunk.save();                  // tokens, sampler state, KV, model hash
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/base/task.hpp"
#include "corvid/llm/generation.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid {

/// What keeping a sequence costs, and what losing it would.
struct SequenceCost {
  std::uint64_t bytes_held = 0;        ///< pages, shared ones counted in full
  std::uint64_t bytes_exclusive = 0;   ///< pages that only this sequence holds
  double recompute_ms = 0;             ///< from the prefill speed measured so far; 0 before any
};

/// Move-only handle; destroying it releases its references. Methods may be called from any thread, one at a time; it keeps its
/// engine's pool alive.
class Sequence {
 public:
  struct Impl;
  explicit Sequence(std::shared_ptr<Impl> impl);
  Sequence(Sequence&&) noexcept;
  Sequence& operator=(Sequence&&) noexcept;
  ~Sequence();

  /// Prefills more tokens. Errors: limit_exceeded (context), out_of_memory, cancelled; the sequence keeps what it had.
  Task<void> append(std::vector<TokenId> ids, CancellationToken cancellation = {});
  Status append_blocking(std::vector<TokenId> ids, CancellationToken cancellation = {});
  /// Logits after the last token. [vocab] f32, natural scale. Errors: invalid_argument on an empty sequence.
  Result<std::vector<float>> logits() const;

  Sequence fork() const;               ///< shares the prefix's pages; sampler state and constraint are copied
  void release();                      ///< drops everything now
  std::span<const TokenId> tokens() const noexcept;

  void set_sampling(SamplingParams params, std::shared_ptr<TokenConstraint> constraint = {});
  /// Draws the next token from logits() with this sequence's sampler; does not append it.
  Result<TokenId> sample();

  /// Everything needed to go on elsewhere with the same next tokens; of a constraint what its save() gives. Ends with a SHA-256 of all before it.
  Result<std::vector<std::byte>> save() const;
  SequenceCost cost() const;

  const std::shared_ptr<Impl>& impl() const noexcept { return impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace corvid
