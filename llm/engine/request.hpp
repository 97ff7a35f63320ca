// One generation in flight: its run, its sampler, its stream.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "corvid/llm/engine.hpp"
#include "corvid/runtime/channel.hpp"
#include "llm/engine/step.hpp"
#include "llm/sampling/beam_search.hpp"
#include "llm/sampling/sampler.hpp"
#include "llm/sampling/stop_matcher.hpp"

namespace corvid::llm {

using Clock = std::chrono::steady_clock;
using EventChannel = Channel<Result<GenerationEvent>>;

// Events that wait for a reader before its sequence is suspended.
constexpr std::size_t kStreamEvents = 64;

struct Request {
  Request(std::shared_ptr<PagePool> pool, Sampler sampler_, StopMatcher stops_, std::shared_ptr<const Tokenizer> tokenizer)
      : run(std::move(pool)), sampler(std::move(sampler_)), stops(std::move(stops_)), decoder(std::move(tokenizer)) {}

  GenerateRequest asked;
  std::vector<TokenId> prompt;
  TokenRun run;
  Sampler sampler;
  StopMatcher stops;
  StreamDecoder decoder;
  CancellationSource cancellation;             // the stream's own; a child of the caller's
  EventChannel events{kStreamEvents};
  std::optional<Result<GenerationEvent>> held; // found the channel full
  std::vector<TokenId> seen;                   // prompt and generated ids, for penalties and the next input
  std::size_t cached = 0, generated = 0;
  // Beam search: the live beams' runs, in its order; what it chose is then handed out like sampled tokens.
  std::optional<BeamSearch> beams;
  std::vector<TokenRun> beam_runs;
  std::deque<SampledToken> chosen;
  bool finished = false;
  bool put_back = false;                       // it ran, and gave its pages to others
  /// Whether its pages can be made again from what it has seen: not those of a caller's sequence, nor of beams.
  bool can_wait() const { return !finished && !on_end && !beams && !run.pages.empty(); }
  Clock::time_point submitted = Clock::now(), started, first_token;
  double prefill_ms = 0;
  std::function<void(Request&)> on_end;        // on the engine's thread, before the last event
};

}  // namespace corvid::llm
