// Sequence: a run of tokens and its KV pages; what graphs fork, join and checkpoint.
//
//   auto branch = trunk.fork();                 // shares pages, copies nothing
//   auto bytes = trunk.save();                  // tokens, sampler state, KV, model hash
//
// A graph's state holds one as Key<std::shared_ptr<Sequence>>; agents/model_state.hpp brings it back from a checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/model_state.hpp"
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

enum class KeepKv : std::uint8_t {
  always,
  never,       ///< restoring computes it again from the tokens
  automatic,   ///< where prefill, as measured so far, takes longer than EngineOptions::disk_bytes_per_s takes to bring it; before any: kept
};

struct SaveOptions {
  KeepKv keep_kv = KeepKv::always;
};

/// Move-only handle; destroying it releases its references. Methods may be called from any thread, one at a time; it keeps its
/// engine's pool alive.
class Sequence final : public ModelState {
 public:
  struct Impl;
  explicit Sequence(std::shared_ptr<Impl> impl);
  Sequence(Sequence&&) noexcept;
  Sequence& operator=(Sequence&&) noexcept;
  ~Sequence() override;

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

  /// What is needed to go on elsewhere with the same next tokens: tokens, sampler state, of a constraint what its save() gives, the
  /// model's identity, and the KV as `options` say. Without KV the same next tokens are sure on the CPU, where a token's KV does not
  /// depend on what it was computed together with; on a device near ties may fall otherwise. Ends with a SHA-256 of all before it.
  Result<std::vector<std::byte>> save(SaveOptions options = {}) const;
  SequenceCost cost() const;

  // ModelState
  Result<std::shared_ptr<ModelState>> fork_state() const override;         ///< fork()
  Result<std::vector<std::byte>> save_state() const override;              ///< save() with KeepKv::automatic
  std::string_view state_kind() const noexcept override { return "sequence"; }

  const std::shared_ptr<Impl>& impl() const noexcept { return impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

struct RestoredSequence {
  Sequence sequence;
  std::string note;                    ///< not empty: what was damaged or did not fit, and was computed again
};

}  // namespace corvid
