// Sampler: draws one sequence's next token from its logits.
//
//   CORVID_TRY(auto sampler, Sampler::make(request.sampling, vocab));
//   CORVID_TRY(auto token, sampler.sample(logits, sequence_ids, constraint.get()));
//
// The order in which parameters apply is written at SamplingParams (corvid/llm/generation.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "corvid/llm/generation.hpp"
#include "llm/sampling/random.hpp"

namespace corvid::llm {

/// Errors: invalid_argument naming the parameter, its value and the range allowed.
Status validate(const SamplingParams& params, std::int64_t vocab);

struct SampledToken {
  TokenId id = 0;
  std::optional<float> logprob;            ///< set when SamplingParams::logprobs ≥ 0; of the raw logits
  std::vector<TokenLogprob> top_logprobs;  ///< best first, ties by lower id
};

/// The K best tokens of a row of raw logits with their natural log probabilities, best first, ties by lower id.
/// `chosen`, where given, also yields that token's. Errors: internal (a NaN or +inf, or nothing finite).
struct LogprobRow { std::vector<TokenLogprob> top; std::vector<float> chosen; };
Result<LogprobRow> row_logprobs(std::span<const float> logits, int k, std::span<const TokenId> chosen);

/// One sequence's sampler; copyable (a fork copies it). Not thread-safe.
class Sampler {
 public:
  /// Errors: as validate().
  static Result<Sampler> make(const SamplingParams& params, std::int64_t vocab);

  /// `logits` [vocab] f32, overwritten. `history` is what penalties see: prompt and generated ids. `constraint` may be null; it is
  /// advanced by the token drawn. Equal logits: the lowest id wins at temperature 0.
  /// Errors: invalid_argument (wrong row length), internal (NaN, nothing left to draw), those of the constraint.
  Result<SampledToken> sample(std::span<float> logits, std::span<const TokenId> history, TokenConstraint* constraint);

  /// Parameters and generator state; restored bytes draw the same tokens on. Errors of restore: bad_input with the byte offset.
  std::vector<std::byte> save() const;
  static Result<Sampler> restore(std::span<const std::byte> bytes);

  /// Draws from a row of another length from now on. Errors: as validate().
  Status set_vocab(std::int64_t vocab);

  const SamplingParams& params() const noexcept { return params_; }

 private:
  struct Candidate { TokenId id; float logit; double weight; };  // weight: exp(logit - best)

  Sampler(SamplingParams params, std::int64_t vocab, std::uint64_t counter);
  void penalise(std::span<float> logits, std::span<const TokenId> history);
  Status constrain(std::span<float> logits, TokenConstraint& constraint);
  TokenId draw(std::span<const float> logits, float best);

  SamplingParams params_;
  std::int64_t vocab_;
  Random random_;
  std::vector<Candidate> candidates_;  // kept between calls for its storage
  std::vector<bool> allowed_;
};

}  // namespace corvid::llm
