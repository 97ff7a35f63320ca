// The part of the engine that turns token runs into steps: pages, batches, forward passes. Used from the engine's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/compute/stream.hpp"
#include "llm/kv/page_pool.hpp"
#include "llm/models/decoder.hpp"

namespace corvid::llm {

/// Tokens and the pages that hold their keys and values. Move-only; gives its references back.
class TokenRun {
 public:
  explicit TokenRun(std::shared_ptr<PagePool> pool) : pool_(std::move(pool)) {}
  TokenRun(TokenRun&&) = default;
  TokenRun& operator=(TokenRun&& other) noexcept {
    clear();
    ids = std::move(other.ids);
    pages = std::move(other.pages);
    pool_ = std::move(other.pool_);
    return *this;
  }
  ~TokenRun() { clear(); }

  TokenRun fork() const;                     ///< shares all pages
  void clear();
  void truncate(std::size_t tokens);         ///< keeps the first `tokens`
  /// Pages for `more` tokens behind those that are there; a shared last page is copied. Errors: out_of_memory; nothing changes then.
  Status reserve(std::size_t more);

  std::vector<TokenId> ids;                  ///< whose KV is in the pages
  std::vector<PageId> pages;
  const std::shared_ptr<PagePool>& pool() const { return pool_; }

 private:
  std::shared_ptr<PagePool> pool_;
};

/// Runs one ragged batch.
class Stepper {
 public:
  /// `stream` is the context's, null on the CPU; kept alive.
  Stepper(OpContext ctx, std::shared_ptr<Stream> stream, std::unique_ptr<Decoder> decoder)
      : ctx_(ctx), stream_(std::move(stream)), decoder_(std::move(decoder)) {}

  struct Part {
    TokenRun* run = nullptr;
    std::span<const TokenId> ids;            ///< appended to the run when the step succeeds
    bool all_logits = false;                 ///< a row for each id; else for the last one if `last_logits`
    bool last_logits = true;
  };
  /// Logits of the parts in order. Errors: those of the ops and of KV memory; no run has changed then.
  Status step(std::span<Part> parts, std::vector<float>& logits);
  /// Appends `ids` in chunks; leaves the last row of logits in `last`.
  Status prefill(TokenRun& run, std::span<const TokenId> ids, std::size_t chunk, const CancellationToken& cancellation, std::vector<float>& last);
  const LlmConfig& config() const { return decoder_->config(); }
  std::uint64_t replayed_steps() const { return decoder_->replayed_steps(); }

 private:
  OpContext ctx_;
  std::shared_ptr<Stream> stream_;
  std::unique_ptr<Decoder> decoder_;
  StepBatch batch_;                          // the step's; its memory stays for the next
};

}  // namespace corvid::llm
