// BeamSearch: which continuations live on, from each one's logits. Knows tokens and scores; whoever drives it keeps their KV.
//
// At each step the 2·width best continuations of all beams are looked at, best first (equal scores: lower beam, lower id). Of those, one
// that ends within the first `width` becomes a hypothesis with score logprob / length^penalty; the others fill `width` live beams. It is
// over when `width` hypotheses exist and no live beam, at its present length, scores above the worst of them; or at the longest length,
// where every live beam becomes a hypothesis. Log probabilities are those of the raw logits. (Wu et al. 2016, section 7, without coverage.)
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "corvid/base/function_ref.hpp"
#include "corvid/llm/generation.hpp"
#include "llm/sampling/sampler.hpp"

namespace corvid::llm {

struct Beam {
  std::vector<SampledToken> tokens;              // generated, the ending one included
  double logprob = 0;                            // sum
  std::unique_ptr<TokenConstraint> constraint;   // null: none
};

class BeamSearch {
 public:
  /// Begins with one beam without tokens. `logprobs` as SamplingParams::logprobs; `constraint` may be null.
  BeamSearch(int width, float length_penalty, int logprobs, std::size_t longest, std::unique_ptr<TokenConstraint> constraint);

  /// One row of logits [vocab] a live beam, in their order. `ends` says whether a sequence of generated tokens ends with its last.
  /// Returns, for each new live beam, which of the old ones it continues; empty: over. Errors: those of the constraint, internal (NaN).
  Result<std::vector<std::size_t>> advance(std::span<const std::span<const float>> rows, FunctionRef<bool(const std::vector<SampledToken>&)> ends);

  const std::vector<Beam>& live() const noexcept { return live_; }
  /// The best hypothesis, once advance() has returned an empty list.
  const Beam& best() const noexcept { return hypotheses_.front().beam; }

 private:
  struct Hypothesis { double score; Beam beam; };
  double score(double logprob, std::size_t length) const;
  void keep(Beam beam);                          // as a hypothesis, the worst falls out

  std::size_t width_;
  float length_penalty_;
  int logprobs_;
  std::size_t longest_;
  std::vector<Beam> live_;
  std::vector<Hypothesis> hypotheses_;           // best first
};

}  // namespace corvid::llm
