// score and perplexity: given tokens through the model, in pieces between which other requests run.
#include <algorithm>
#include <cmath>

#include "corvid/runtime/offload.hpp"
#include "llm/engine/native_engine.hpp"

namespace corvid::llm {
namespace {

// Rows whose logits are held at once.
constexpr std::size_t kLogitRows = static_cast<std::size_t>(Decoder::kLogitRows);

}  // namespace

Task<ScoreResult> NativeEngine::score(std::vector<TokenId> ids, int top_k, CancellationToken cancellation) {
  if (top_k < 0) co_return fail(Error::invalid_argument("top_k must not be negative").at_key("top_k"));
  if (ids.size() > p_.options.context_tokens) {
    co_return fail(Error::limit_exceeded("there are " + std::to_string(ids.size()) + " tokens to score; the context holds " + std::to_string(p_.options.context_tokens)));
  }
  for (const TokenId id : ids) {
    if (id < 0 || id >= static_cast<TokenId>(p_.info.vocab)) co_return fail(Error::bad_input("token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(p_.info.vocab)));
  }
  auto job = [this, ids = std::move(ids), top_k, cancellation]() -> Result<ScoreResult> {
    ScoreResult result;
    result.token_ids = ids;
    if (!ids.empty()) result.logprobs.emplace_back(std::nullopt);
    TokenRun run(p_.pool);
    std::vector<float> logits;
    const auto vocab = static_cast<std::size_t>(p_.info.vocab);
    for (std::size_t at = 0; at < ids.size(); at += kLogitRows) {
      CORVID_TRY_STATUS(cancellation.check());
      const std::size_t n = std::min(kLogitRows, ids.size() - at);
      const auto one = [&](Stepper& stepper) {
        Stepper::Part part;
        part.run = &run;
        part.ids = std::span(ids).subspan(at, n);
        part.all_logits = true;
        return step_before_others(stepper, std::span(&part, 1), logits);
      };
      CORVID_TRY_STATUS(on_engine(one));
      for (std::size_t i = 0; i < n; ++i) {
        const auto next = at + i + 1 < ids.size() ? std::span(ids).subspan(at + i + 1, 1) : std::span<const TokenId>();
        CORVID_TRY(auto row, row_logprobs(std::span(logits).subspan(i * vocab, vocab), top_k, next));
        result.top.push_back(std::move(row.top));
        if (!next.empty()) result.logprobs.emplace_back(row.chosen[0]);
      }
    }
    return result;
  };
  co_return co_await offload(runtime_, std::move(job));
}

Task<PerplexityResult> NativeEngine::perplexity(std::vector<TokenId> ids, std::uint32_t context, ProgressSink progress, CancellationToken cancellation) {
  if (context < 4 || context > p_.options.context_tokens) {
    co_return fail(Error::invalid_argument("the window must have 4 to " + std::to_string(p_.options.context_tokens) + " tokens").at_key("context"));
  }
  if (ids.size() < context) {
    co_return fail(Error::bad_input("the text has " + std::to_string(ids.size()) + " tokens; one window of " + std::to_string(context) + " is the least"));
  }
  auto job = [this, ids = std::move(ids), context, progress, cancellation]() mutable -> Result<PerplexityResult> {
    PerplexityResult result;
    const std::size_t windows = ids.size() / context, half = context / 2;
    double nll = 0;
    std::vector<float> logits;
    const auto vocab = static_cast<std::size_t>(p_.info.vocab);
    for (std::size_t w = 0; w < windows; ++w) {
      std::vector<TokenId> window(ids.begin() + static_cast<std::ptrdiff_t>(w * context), ids.begin() + static_cast<std::ptrdiff_t>((w + 1) * context));
      if (p_.tokenizer->adds_bos()) window[0] = *p_.tokenizer->bos();
      TokenRun run(p_.pool);
      // The first half gives context only; the last token predicts nothing that is scored.
      for (std::size_t at = 0; at + 1 < context;) {
        CORVID_TRY_STATUS(cancellation.check());
        const bool scored = at >= half;
        const std::size_t n = scored ? std::min(kLogitRows, context - 1 - at) : std::min(chunk_tokens(), half - at);
        const auto one = [&](Stepper& stepper) {
          Stepper::Part part;
          part.run = &run;
          part.ids = std::span(window).subspan(at, n);
          part.all_logits = scored;
          part.last_logits = false;
          return step_before_others(stepper, std::span(&part, 1), logits);
        };
        CORVID_TRY_STATUS(on_engine(one));
        for (std::size_t i = 0; scored && i < n; ++i) {
          CORVID_TRY(const auto row, row_logprobs(std::span(logits).subspan(i * vocab, vocab), 0, std::span<const TokenId>(window).subspan(at + i + 1, 1)));
          nll -= row.chosen[0];
          ++result.tokens;
        }
        at += n;
      }
      result.running.push_back(std::exp(nll / static_cast<double>(result.tokens)));
      if (progress) progress({"perplexity", w + 1, windows, ""});
    }
    result.perplexity = result.running.back();
    return result;
  };
  co_return co_await offload(runtime_, std::move(job));
}

}  // namespace corvid::llm
