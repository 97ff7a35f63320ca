// What a generation is asked for and what comes back: sampling parameters, events, usage.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/result.hpp"
#include "corvid/llm/message.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid {

/// How the next token is drawn. Order of application: logit bias, penalties, constraint mask, then, for temperature > 0,
/// temperature, top-k, typical, top-p, min-p. Temperature 0 takes the best token (of equal ones, the lowest id).
/// Log probabilities are those of the model's raw logits, before anything in this struct applies.
struct SamplingParams {
  float temperature = 0.0f;             ///< ≥ 0
  int top_k = 0;                        ///< 0 = off
  float top_p = 1.0f;                   ///< (0, 1]
  float min_p = 0.0f;                   ///< [0, 1); relative to the best token's probability
  float typical_p = 1.0f;               ///< (0, 1]; Meister et al. 2022
  float repetition_penalty = 1.0f;      ///< > 0; CTRL (Keskar et al. 2019): divides positive, multiplies negative logits
  float presence_penalty = 0.0f;        ///< subtracted once from tokens seen
  float frequency_penalty = 0.0f;       ///< subtracted per occurrence
  int penalty_window = -1;              ///< last N tokens (prompt included) that penalties see; -1 = all
  std::map<TokenId, float> logit_bias;  ///< added to logits
  std::uint64_t seed = 0;
  int logprobs = -1;                    ///< K ≥ 0: report the chosen token's and the K best tokens' log probabilities (natural)
};

/// Restricts which tokens may come next (a grammar). One object a sequence; sampling masks and advances it.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  /// Sets allowed[id] for every id of the vocabulary. Errors: internal when nothing is allowed and the text is not complete.
  virtual Status mask(std::vector<bool>& allowed) = 0;
  virtual Status advance(TokenId id) = 0;                       ///< errors: invalid_argument if the token was not allowed
  virtual std::unique_ptr<TokenConstraint> fork() const = 0;
  virtual std::vector<std::byte> save() const = 0;              ///< state only; restored by the factory that made it
};

/// Makes a constraint from what TokenConstraint::save() gave.
using ConstraintFactory = std::function<Result<std::unique_ptr<TokenConstraint>>(std::span<const std::byte>)>;

enum class FinishReason : std::uint8_t { stop, length, tool_calls, cancelled, deadline };
std::string_view to_string(FinishReason reason) noexcept;

struct Usage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t completion_tokens = 0;
  std::uint64_t cached_tokens = 0;  ///< of the prompt, taken from the prefix cache
};

struct GenerationTimings {
  double load_ms = 0;
  double prefill_ms = 0;
  double first_token_ms = 0;        ///< from submission
  double decode_ms = 0;
};

struct TokenLogprob { TokenId id = 0; float logprob = 0; };

/// One item of a generation's stream. Several fields may be set at once; the last event has finish_reason.
struct GenerationEvent {
  std::optional<TokenId> token;              ///< native engine only
  std::string text;                          ///< valid UTF-8, possibly empty; never shows a stop string or stop token
  std::optional<float> logprob;
  std::vector<TokenLogprob> top_logprobs;
  std::vector<ToolCallPart> tool_calls;      ///< complete calls, on the last event
  std::optional<FinishReason> finish_reason;
  Usage usage;                               ///< on the last event
  GenerationTimings timings;                 ///< on the last event
};

/// A finished generation, gathered.
struct GenerationResult {
  std::string text;
  std::vector<TokenId> token_ids;            ///< ends with the stopping token where one was produced
  std::vector<float> logprobs;               ///< as asked
  std::vector<std::vector<TokenLogprob>> top_logprobs;
  std::vector<ToolCallPart> tool_calls;
  FinishReason finish_reason = FinishReason::stop;
  Usage usage;
  GenerationTimings timings;

  void add(GenerationEvent event);           ///< the next one of the stream
};

}  // namespace corvid
