// The JSON shapes that several commands share.
#pragma once

#include "corvid/base/json.hpp"
#include "corvid/llm/generation.hpp"

namespace corvid::cli {

inline Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens}, {"completion_tokens", usage.completion_tokens}, {"cached_tokens", usage.cached_tokens}};
}

inline Json timings_json(const GenerationTimings& timings, double load_ms) {
  return {{"load_ms", load_ms}, {"prefill_ms", timings.prefill_ms}, {"first_token_ms", timings.first_token_ms}, {"decode_ms", timings.decode_ms}};
}

inline Json top_json(const std::vector<std::vector<TokenLogprob>>& top) {
  Json out = Json::array();
  for (const auto& row : top) {
    Json best = Json::array();
    for (const auto& token : row) best.push_back(Json::array({token.id, token.logprob}));
    out.push_back(std::move(best));
  }
  return out;
}

}  // namespace corvid::cli
