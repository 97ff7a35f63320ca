// NativeEngine: the Engine on our own models. One thread owns the scheduler, the forward passes and the pages' contents.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

#include "corvid/llm/chat_template.hpp"
#include "corvid/llm/engine.hpp"
#include "llm/engine/request.hpp"
#include "llm/engine/sequence_impl.hpp"

namespace corvid::llm {

class NativeEngine final : public Engine, public SequenceHost {
 public:
  struct Parts {
    EngineOptions options;
    ModelInfo info;
    std::shared_ptr<const Tokenizer> tokenizer;
    std::shared_ptr<PagePool> pool;
    std::unique_ptr<Stepper> stepper;
    std::optional<ChatTemplate> chat_template;
    std::string bos_text, eos_text;
    double load_ms = 0;
  };
  NativeEngine(Runtime& runtime, Parts parts);
  ~NativeEngine() override;

  // Engine
  Result<EventStream> generate(GenerateRequest request) override;
  Task<ScoreResult> score(std::vector<TokenId> ids, int top_k, CancellationToken cancellation) override;
  Task<PerplexityResult> perplexity(std::vector<TokenId> ids, std::uint32_t context, ProgressSink progress, CancellationToken cancellation) override;
  Result<Sequence> new_sequence() override;
  Result<Sequence> restore_sequence(std::span<const std::byte> saved, const ConstraintFactory& constraints) override;
  Result<RestoredSequence> restore_or_recompute(std::span<const std::byte> saved, const ConstraintFactory& constraints) override;
  Result<EventStream> continue_sequence(Sequence& sequence, GenerateRequest request) override;
  const ModelInfo& info() const noexcept override { return p_.info; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const noexcept override { return p_.tokenizer; }
  Result<std::string> render_chat(const ChatRequest& request) const override;
  Result<std::vector<TokenId>> chat_tokens(const ChatRequest& request) const override;
  GenerationTimings load_timings() const noexcept override;
  // ChatModel
  Task<EventStream> chat(ChatRequest request) override;
  std::string_view name() const noexcept override { return p_.info.name; }
  std::optional<std::uint64_t> count_tokens(const ChatRequest& request) const override;
  // SequenceHost
  Status on_engine(std::function<Status(Stepper&)> job) override;
  Runtime& runtime() override { return runtime_; }
  const std::string& model_identity() const override { return p_.info.identity; }
  std::size_t sequence_limit() const override { return p_.options.context_tokens; }
  std::size_t chunk_tokens() const override { return p_.options.max_batch_tokens; }
  double prefill_ms_per_token() const override;
  void note_prefill(std::size_t tokens, double ms) override;
  double disk_bytes_per_s() const override { return p_.options.disk_bytes_per_s; }
  const Sha256Digest& tokenizer_hash() override;
  bool make_room() override { return evict(); }
  std::optional<std::uint64_t> context_tokens() const noexcept override { return p_.options.context_tokens; }

 private:
  Result<RenderedChat> render_marked(const ChatRequest& request) const;
  // What streams and channels may touch after the engine has gone.
  struct Loop {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<std::shared_ptr<Request>> arrived;
    std::deque<std::function<void(Stepper*)>> jobs;  // called with null when the engine ends
    bool poked = false, stop = false;
  };
  class Source;

  Result<std::shared_ptr<Request>> make_request(GenerateRequest asked, std::vector<TokenId> prompt);
  Result<std::vector<TokenId>> prompt_ids(const GenerateRequest& request, bool from_start) const;
  EventStream submit(std::shared_ptr<Request> request);
  void run();
  void admit();
  void settle();                                  // held events, cancellations
  bool step();                                    // false: nothing to do
  void consume(Request& request, std::span<float> logits);
  void consume_beams(Request& request, std::span<const float> logits);  // a row a live beam
  void deliver(Request& request, SampledToken sampled);
  bool after_step(Request& request, bool first);
  bool ends_at(const Request& request, TokenId id) const;
  void finish(Request& request, FinishReason reason, GenerationEvent event);
  void fail_request(Request& request, Error error);
  void emit(Request& request, Result<GenerationEvent> event);
  void keep_prefix(Request& request);
  bool evict();
  /// A step for which cached prefixes make room. On the engine's thread.
  Status step_with_room(Stepper& stepper, std::span<Stepper::Part> parts, std::vector<float>& logits);
  /// A step of a job between the others' steps, for which they give way too.
  Status step_before_others(Stepper& stepper, std::span<Stepper::Part> parts, std::vector<float>& logits);
  void put_back(Request& request);
  bool room_for(const Request& request);

  Runtime& runtime_;
  Parts p_;
  std::shared_ptr<Loop> loop_ = std::make_shared<Loop>();
  std::deque<std::shared_ptr<Request>> waiting_;
  std::list<std::shared_ptr<Request>> running_;
  std::list<TokenRun> cache_;                     // most recently used first
  std::vector<float> logits_;
  // Of step(), whose memory stays for the next: each of these requests has that many of the parts.
  struct Work { Request* request; std::size_t parts; };
  std::vector<Stepper::Part> parts_;
  std::vector<Work> work_;
  mutable std::mutex speed_mutex_;
  double prefill_ms_per_token_ = 0;
  std::size_t prefill_sample_ = 0;                // tokens of the prompt that it was measured with
  std::once_flag tokenizer_hashed_;
  Sha256Digest tokenizer_hash_{};
  std::thread thread_;
};

}  // namespace corvid::llm
