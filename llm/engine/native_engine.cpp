#include "llm/engine/native_engine.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cmath>
#include <future>
#include <utility>

#include "corvid/runtime/offload.hpp"
#include "llm/engine/saved_sequence.hpp"

namespace corvid::llm {
namespace {

// Finished runs that are kept for their prefixes; more than this costs look-ups without hits in what was tried.
constexpr std::size_t kCachedRuns = 32;
constexpr std::uint32_t kMostBeams = 256;
// A prompt of fewer tokens says little about prefill: a single one costs a decode step.
constexpr std::size_t kPrefillSample = 32;

double ms_between(Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double, std::milli>(to - from).count(); }

}  // namespace

// The reader's end. It may outlive the engine.
class NativeEngine::Source final : public EventStream::Source {
 public:
  Source(std::shared_ptr<Request> request, std::shared_ptr<Loop> loop) : request_(std::move(request)), loop_(std::move(loop)) {}
  ~Source() override {
    cancel();
    request_->events.close();
  }
  boost::asio::awaitable<std::optional<Result<GenerationEvent>>> next() override {
    if (done_) co_return std::nullopt;
    auto event = co_await request_->events.receive();
    note(event);
    co_return event;
  }
  std::optional<Result<GenerationEvent>> next_blocking() override {
    if (done_) return std::nullopt;
    auto event = request_->events.receive_blocking();
    note(event);
    return event;
  }
  void cancel() override {
    request_->cancellation.cancel();
    std::lock_guard lock(loop_->mutex);
    loop_->poked = true;
    loop_->wake.notify_one();
  }

 private:
  void note(const std::optional<Result<GenerationEvent>>& event) { done_ = !event || !*event || (*event)->finish_reason.has_value(); }
  std::shared_ptr<Request> request_;
  std::shared_ptr<Loop> loop_;
  bool done_ = false;
};

NativeEngine::NativeEngine(Runtime& runtime, Parts parts) : runtime_(runtime), p_(std::move(parts)), thread_([this] { run(); }) {}

NativeEngine::~NativeEngine() {
  {
    std::lock_guard lock(loop_->mutex);
    loop_->stop = true;
    loop_->wake.notify_one();
  }
  thread_.join();
}

GenerationTimings NativeEngine::load_timings() const noexcept {
  GenerationTimings timings;
  timings.load_ms = p_.load_ms;
  return timings;
}

double NativeEngine::prefill_ms_per_token() const {
  std::lock_guard lock(speed_mutex_);
  return prefill_ms_per_token_;
}

void NativeEngine::note_prefill(std::size_t tokens, double ms) {
  std::lock_guard lock(speed_mutex_);
  if (tokens == 0 || tokens < std::min(prefill_sample_, kPrefillSample)) return;
  prefill_sample_ = tokens;
  prefill_ms_per_token_ = ms / static_cast<double>(tokens);
}

const Sha256Digest& NativeEngine::tokenizer_hash() {
  std::call_once(tokenizer_hashed_, [this] { tokenizer_hash_ = llm::tokenizer_hash(*p_.tokenizer); });
  return tokenizer_hash_;
}

// --- requests ---------------------------------------------------------------------------------------------------------

Result<std::vector<TokenId>> NativeEngine::prompt_ids(const GenerateRequest& request, bool from_start) const {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&request.prompt)) {
    for (const TokenId id : *ids) {
      if (id < 0 || id >= static_cast<TokenId>(p_.info.vocab)) return fail(Error::bad_input("token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(p_.info.vocab)));
    }
    return *ids;
  }
  EncodeOptions options;
  options.parse_special = request.parse_special;
  options.add_special = from_start;
  return p_.tokenizer->encode(std::get<std::string>(request.prompt), options);
}

Result<std::shared_ptr<Request>> NativeEngine::make_request(GenerateRequest asked, std::vector<TokenId> prompt) {
  if (asked.max_tokens < 1) return fail(Error::invalid_argument("max_tokens must be at least 1").at_key("max_tokens"));
  if (asked.beams < 1) return fail(Error::invalid_argument("beams must be at least 1").at_key("beams"));
  if (asked.beams > 1) {
    const int most = static_cast<int>(std::min<std::uint32_t>(kMostBeams, p_.options.max_batch_tokens));
    if (asked.beams > most) return fail(Error::invalid_argument("beams must be at most " + std::to_string(most)).at_key("beams"));
    if (asked.sampling.temperature > 0) return fail(Error::invalid_argument("beam search draws nothing: leave the temperature at 0").at_key("temperature"));
    if (!std::isfinite(asked.beam_length_penalty)) return fail(Error::invalid_argument("the length penalty must be a finite number").at_key("beam_length_penalty"));
  }
  if (prompt.empty()) return fail(Error::invalid_argument("the prompt is empty; give at least one token").at_key("prompt"));
  if (prompt.size() >= p_.options.context_tokens) {
    return fail(Error::limit_exceeded("the prompt has " + std::to_string(prompt.size()) + " tokens; the context holds " + std::to_string(p_.options.context_tokens) + ", one of them for the answer"));
  }
  CORVID_TRY(auto sampler, Sampler::make(asked.sampling, p_.info.vocab));
  CORVID_TRY(auto stops, StopMatcher::make(asked.stop));
  auto request = std::make_shared<Request>(p_.pool, std::move(sampler), std::move(stops), p_.tokenizer);
  request->cancellation = CancellationSource(asked.cancellation);
  request->asked = std::move(asked);
  request->prompt = std::move(prompt);
  request->seen = request->prompt;
  if (request->asked.beams > 1) {
    const std::size_t longest = std::min<std::size_t>(static_cast<std::size_t>(request->asked.max_tokens), p_.options.context_tokens - request->prompt.size());
    request->beams.emplace(request->asked.beams, request->asked.beam_length_penalty, request->asked.sampling.logprobs, longest,
                           request->asked.constraint ? request->asked.constraint->fork() : nullptr);
  }
  return request;
}

EventStream NativeEngine::submit(std::shared_ptr<Request> request) {
  std::weak_ptr<Loop> weak = loop_;
  request->events.on_room([weak] {
    if (auto loop = weak.lock()) {
      std::lock_guard lock(loop->mutex);
      loop->poked = true;
      loop->wake.notify_one();
    }
  });
  auto source = std::make_unique<Source>(request, loop_);
  std::lock_guard lock(loop_->mutex);
  loop_->arrived.push_back(std::move(request));
  loop_->wake.notify_one();
  return EventStream(std::move(source));
}

Result<EventStream> NativeEngine::generate(GenerateRequest request) {
  CORVID_TRY(auto ids, prompt_ids(request, true));
  CORVID_TRY(auto made, make_request(std::move(request), std::move(ids)));
  return submit(std::move(made));
}

Result<Sequence> NativeEngine::new_sequence() {
  std::shared_ptr<SequenceHost> host(shared_from_this(), static_cast<SequenceHost*>(this));
  return Sequence(std::make_shared<Sequence::Impl>(std::move(host), p_.pool));
}

Result<Sequence> NativeEngine::restore_sequence(std::span<const std::byte> saved, const ConstraintFactory& constraints) {
  std::shared_ptr<SequenceHost> host(shared_from_this(), static_cast<SequenceHost*>(this));
  CORVID_TRY(auto restored, corvid::restore_sequence(std::move(host), p_.pool, p_.info.vocab, saved, constraints, false));
  return std::move(restored.sequence);
}

Result<RestoredSequence> NativeEngine::restore_or_recompute(std::span<const std::byte> saved, const ConstraintFactory& constraints) {
  std::shared_ptr<SequenceHost> host(shared_from_this(), static_cast<SequenceHost*>(this));
  return corvid::restore_sequence(std::move(host), p_.pool, p_.info.vocab, saved, constraints, true);
}

Result<EventStream> NativeEngine::continue_sequence(Sequence& sequence, GenerateRequest request) {
  auto impl = sequence.impl();
  if (impl->run.pool() != p_.pool) return fail(Error::invalid_argument("the sequence is another engine's; save it there and restore it here").at_key("sequence"));
  const std::size_t had = impl->run.ids.size();
  CORVID_TRY(auto more, prompt_ids(request, had == 0));
  std::vector<TokenId> prompt = impl->run.ids;
  prompt.insert(prompt.end(), more.begin(), more.end());
  if (!request.constraint) request.constraint = impl->constraint;
  CORVID_TRY(auto made, make_request(std::move(request), std::move(prompt)));
  made->run = std::move(impl->run);
  impl->run = TokenRun(p_.pool);
  // Without a prompt the last token is read again, so that its logits are there: the KV is the same to the bit.
  if (more.empty()) made->run.truncate(had - 1);
  made->cached = made->run.ids.size();
  if (impl->sampler) made->sampler = *impl->sampler;
  made->on_end = [this, had, impl, host = impl->host](Request& ended) mutable {
    // The last token drawn has no KV yet; with it the sequence can be appended to, forked and saved. Where none was drawn, the sequence
    // is what it was: a prompt that was cancelled must not be read to its end here.
    if (ended.generated == 0) ended.run.truncate(had);
    const std::size_t whole = ended.generated == 0 ? had : ended.seen.size();
    const std::vector<TokenId> rest(ended.seen.begin() + static_cast<std::ptrdiff_t>(ended.run.ids.size()), ended.seen.begin() + static_cast<std::ptrdiff_t>(whole));
    if (!rest.empty()) {
      auto status = p_.stepper->prefill(ended.run, rest, chunk_tokens(), {}, impl->logits);
      while (!status && status.error().code() == ErrorCode::out_of_memory && evict()) status = p_.stepper->prefill(ended.run, rest, chunk_tokens(), {}, impl->logits);
      if (!status) {
        impl->logits.clear();
        runtime_.log(LogLevel::warn, "engine", "the last token of a continued sequence was dropped: " + status.error().describe());
      }
    }
    if (ended.beams && impl->constraint && impl->constraint == ended.asked.constraint) {
      for (std::size_t i = ended.prompt.size(); i < ended.seen.size(); ++i) (void)impl->constraint->advance(ended.seen[i]);
    }
    impl->run = std::move(ended.run);
    impl->sampler = ended.sampler;
    ended.run = TokenRun(p_.pool);
    ended.asked.constraint.reset();
    // Pages go here if the sequence was dropped meanwhile; the engine must not: its last reference may not end on its own thread.
    impl.reset();
    boost::asio::post(runtime_.blocking_pool(), [host = std::move(host)] {});
  };
  return submit(std::move(made));
}

// --- chat -------------------------------------------------------------------------------------------------------------

Result<std::string> NativeEngine::render_chat(const ChatRequest& request) const {
  CORVID_TRY(auto rendered, render_marked(request));
  return std::move(rendered.text);
}

Result<RenderedChat> NativeEngine::render_marked(const ChatRequest& request) const {
  if (!p_.chat_template) return fail(Error::unsupported("the model's file has no chat template; use generate with a raw prompt"));
  for (const auto& message : request.messages) {
    for (const auto& part : message.parts) {
      if (std::holds_alternative<ImagePart>(part) || std::holds_alternative<AudioPart>(part)) return fail(Error::unsupported("this model reads text only: the request has an image or audio part"));
    }
  }
  if (request.response_format.kind != ResponseFormat::Kind::text) return fail(Error::unsupported("the native engine cannot hold an answer to a JSON format yet; leave response_format out").at_key("response_format"));
  ChatTemplateInputs inputs;
  inputs.messages = template_messages(request.messages);
  inputs.tools = template_tools(request.tools);
  inputs.bos_token = p_.bos_text;
  inputs.eos_token = p_.eos_text;
  return p_.chat_template->render_marked(inputs);
}

std::optional<std::uint64_t> NativeEngine::count_tokens(const ChatRequest& request) const {
  const auto ids = chat_tokens(request);
  if (!ids) return std::nullopt;
  return ids->size();
}

Result<std::vector<TokenId>> NativeEngine::chat_tokens(const ChatRequest& request) const {
  CORVID_TRY(const auto prompt, render_marked(request));
  EncodeOptions encoding;
  encoding.parse_special = true;
  encoding.literal = prompt.input;
  // Most templates write BOS themselves; a second one would be a different prompt.
  encoding.add_special = p_.bos_text.empty() || !prompt.text.starts_with(p_.bos_text);
  return p_.tokenizer->encode(prompt.text, encoding);
}

Task<EventStream> NativeEngine::chat(ChatRequest request) {
  if (!request.tools.empty()) co_return fail(Error::unsupported("the native engine cannot hold an answer to tool calls yet; leave the tools out or use a remote model").at_key("tools"));
  CORVID_CO_TRY(auto ids, chat_tokens(request));
  GenerateRequest asked;
  asked.prompt = std::move(ids);
  asked.sampling = std::move(request.sampling);
  asked.max_tokens = request.max_tokens;
  asked.stop = std::move(request.stop);
  asked.constraint = std::move(request.constraint);
  asked.cancellation = request.cancellation;
  co_return generate(std::move(asked));
}

// --- the engine's thread ----------------------------------------------------------------------------------------------

Status NativeEngine::on_engine(std::function<Status(Stepper&)> job) {
  std::promise<Status> promise;
  auto done = promise.get_future();
  {
    std::lock_guard lock(loop_->mutex);
    if (loop_->stop) return fail(Error::cancelled("the engine is shutting down"));
    loop_->jobs.emplace_back([&](Stepper* stepper) {
      try {
        promise.set_value(stepper ? job(*stepper) : Status(fail(Error::cancelled("the engine is shutting down"))));
      } catch (...) {
        promise.set_exception(std::current_exception());
      }
    });
    loop_->wake.notify_one();
  }
  return done.get();
}

void NativeEngine::run() {
  std::deque<std::function<void(Stepper*)>> jobs;
  while (true) {
    bool stop = false;
    {
      std::lock_guard lock(loop_->mutex);
      while (!loop_->arrived.empty()) {
        waiting_.push_back(std::move(loop_->arrived.front()));
        loop_->arrived.pop_front();
      }
      jobs.swap(loop_->jobs);
      loop_->poked = false;
      stop = loop_->stop;
    }
    for (auto& job : jobs) job(stop ? nullptr : p_.stepper.get());
    jobs.clear();
    if (stop) {
      for (auto* list : {&waiting_}) for (auto& request : *list) finish(*request, FinishReason::cancelled, {});
      for (auto& request : running_) if (!request->finished) finish(*request, FinishReason::cancelled, {});
      for (auto& request : running_) if (request->held) (void)request->events.try_send(*request->held);
      for (auto& request : running_) request->events.close();
      for (auto& request : waiting_) request->events.close();
      waiting_.clear();
      running_.clear();
      cache_.clear();
      return;
    }
    settle();
    admit();
    if (step()) continue;
    std::unique_lock lock(loop_->mutex);
    const auto anything = [&] { return loop_->poked || loop_->stop || !loop_->arrived.empty() || !loop_->jobs.empty(); };
    // A deadline passes without a call; whoever has one is looked at again soon.
    if (running_.empty() && waiting_.empty()) loop_->wake.wait(lock, anything);
    else loop_->wake.wait_for(lock, std::chrono::milliseconds(50), anything);
  }
}

void NativeEngine::settle() {
  const auto stopped = [&](Request& request) {
    const auto status = request.cancellation.token().check();
    if (status) return false;
    finish(request, status.error().code() == ErrorCode::cancelled ? FinishReason::cancelled : FinishReason::deadline, {});
    return true;
  };
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (stopped(**at)) {
      if ((*at)->held) (void)(*at)->events.try_send(*(*at)->held);
      (*at)->events.close();
      at = waiting_.erase(at);
    } else {
      ++at;
    }
  }
  for (auto at = running_.begin(); at != running_.end();) {
    Request& request = **at;
    if (request.held && request.events.try_send(*request.held)) request.held.reset();
    if (!request.finished) stopped(request);
    if (request.held && request.events.closed()) request.held.reset();  // nobody reads any more
    if (request.finished && !request.held) {
      request.events.close();
      at = running_.erase(at);
    } else {
      ++at;
    }
  }
}

void NativeEngine::admit() {
  while (!waiting_.empty() && running_.size() < p_.options.max_running) {
    if (waiting_.front()->put_back && !running_.empty() && !room_for(*waiting_.front())) break;
    auto request = std::move(waiting_.front());
    waiting_.pop_front();
    if (!request->put_back) request->started = Clock::now();
    if (p_.options.prefix_cache && request->run.ids.empty()) {
      // The run that shares the longest prefix; the last prompt token is always computed, its logits are needed.
      const TokenRun* best = nullptr;
      std::size_t shared = 0;
      for (const auto& run : cache_) {
        const auto limit = std::min(run.ids.size(), request->prompt.size() - 1);
        const auto same = static_cast<std::size_t>(std::mismatch(run.ids.begin(), run.ids.begin() + static_cast<std::ptrdiff_t>(limit), request->prompt.begin()).first - run.ids.begin());
        if (same > shared) {
          shared = same;
          best = &run;
        }
      }
      if (best) {
        request->run = best->fork();
        request->run.truncate(shared);
        request->cached = shared;
      }
    }
    running_.push_back(std::move(request));
  }
}

bool NativeEngine::step() {
  auto& parts = parts_;
  auto& work = work_;
  parts.clear();
  work.clear();
  std::size_t room = p_.options.max_batch_tokens;
  bool handed_out = false;
  // Decode tokens first: who waits for one token is not held up by somebody's prompt.
  for (const bool decoding : {true, false}) {
    for (auto& request : running_) {
      if (request->finished || request->held) continue;
      if (!request->chosen.empty()) {
        SampledToken next = std::move(request->chosen.front());
        request->chosen.pop_front();
        deliver(*request, std::move(next));
        handed_out = true;
        continue;
      }
      if (!request->beam_runs.empty()) {
        if (!decoding || request->beam_runs.size() > room) continue;
        for (std::size_t b = 0; b < request->beam_runs.size(); ++b) {
          Stepper::Part part;
          part.run = &request->beam_runs[b];
          part.ids = std::span(&request->beams->live()[b].tokens.back().id, 1);
          parts.push_back(part);
        }
        work.push_back({request.get(), request->beam_runs.size()});
        room -= request->beam_runs.size();
        continue;
      }
      const std::size_t pending = request->seen.size() - request->run.ids.size();
      if ((request->generated > 0) != decoding || pending == 0 || room == 0) continue;
      const std::size_t take = std::min(pending, room);
      Stepper::Part part;
      part.run = &request->run;
      part.ids = std::span(request->seen).subspan(request->run.ids.size(), take);
      part.last_logits = take == pending;
      parts.push_back(part);
      work.push_back({request.get(), 1});
      room -= take;
    }
  }
  if (parts.empty()) return handed_out;
  const auto status = step_with_room(*p_.stepper, parts, logits_);
  if (!status) {
    // Out of pages: the newest gives way until there is room, the others go on. Anything else is everybody's.
    if (status.error().code() == ErrorCode::out_of_memory && work.size() > 1) {
      const auto newest = std::find_if(work.rbegin(), work.rend(), [](const Work& each) { return each.request->can_wait(); });
      if (newest != work.rend()) put_back(*newest->request);
      else fail_request(*work.back().request, status.error());
    }
    else for (const Work& each : work) fail_request(*each.request, status.error());
    return true;
  }
  std::size_t row = 0, part = 0;
  const auto vocab = static_cast<std::size_t>(p_.info.vocab);
  for (const Work& each : work) {
    if (parts[part].last_logits) {
      const auto rows = std::span(logits_).subspan(row * vocab, each.parts * vocab);
      if (each.request->beams) consume_beams(*each.request, rows);
      else consume(*each.request, rows);
      row += each.parts;
    }
    part += each.parts;
  }
  return true;
}

// The step that read the prompt's end is over: false when the request was cancelled while it ran, and gets no token of it.
bool NativeEngine::after_step(Request& request, bool first) {
  if (first) {
    request.first_token = Clock::now();
    request.prefill_ms = ms_between(request.started, request.first_token);
    note_prefill(request.prompt.size() - request.cached, request.prefill_ms);
  }
  const auto status = request.cancellation.token().check();
  if (!status) finish(request, status.error().code() == ErrorCode::cancelled ? FinishReason::cancelled : FinishReason::deadline, {});
  return status.has_value();
}

void NativeEngine::consume(Request& request, std::span<float> logits) {
  if (!after_step(request, request.generated == 0)) return;
  auto sampled = request.sampler.sample(logits, request.seen, request.asked.constraint.get());
  if (!sampled) return fail_request(request, std::move(sampled).error());
  deliver(request, std::move(*sampled));
}

void NativeEngine::consume_beams(Request& request, std::span<const float> logits) {
  if (!after_step(request, request.beam_runs.empty())) return;
  const auto vocab = static_cast<std::size_t>(p_.info.vocab);
  std::vector<std::span<const float>> rows;
  for (std::size_t at = 0; at < logits.size(); at += vocab) rows.push_back(logits.subspan(at, vocab));
  const auto ends = [&](const std::vector<SampledToken>& tokens) {
    if (ends_at(request, tokens.back().id)) return true;
    if (request.asked.stop.empty()) return false;
    std::vector<TokenId> ids;
    for (const auto& token : tokens) ids.push_back(token.id);
    const std::string text = p_.tokenizer->decode(ids);
    return std::any_of(request.asked.stop.begin(), request.asked.stop.end(), [&](const std::string& stop) { return text.find(stop) != std::string::npos; });
  };
  auto parents = request.beams->advance(rows, ends);
  if (!parents) return fail_request(request, std::move(parents).error());
  std::vector<TokenRun> next;
  for (const std::size_t parent : *parents) next.push_back(request.beam_runs.empty() ? request.run.fork() : request.beam_runs[parent].fork());
  request.beam_runs = std::move(next);
  if (!parents->empty()) return;
  const auto& best = request.beams->best().tokens;
  request.chosen.assign(best.begin(), best.end());
}

bool NativeEngine::ends_at(const Request& request, TokenId id) const {
  const auto eog = p_.tokenizer->end_of_generation();
  return (!request.asked.ignore_eos && std::binary_search(eog.begin(), eog.end(), id)) ||
         std::find(request.asked.stop_tokens.begin(), request.asked.stop_tokens.end(), id) != request.asked.stop_tokens.end();
}

void NativeEngine::deliver(Request& request, SampledToken sampled) {
  const TokenId id = sampled.id;
  request.seen.push_back(id);
  ++request.generated;
  GenerationEvent event;
  event.token = id;
  event.logprob = sampled.logprob;
  event.top_logprobs = std::move(sampled.top_logprobs);
  if (ends_at(request, id)) return finish(request, FinishReason::stop, std::move(event));
  auto shown = request.stops.push(request.decoder.push(id));
  event.text = std::move(shown.text);
  if (shown.stopped) return finish(request, FinishReason::stop, std::move(event));
  if (request.generated >= static_cast<std::size_t>(request.asked.max_tokens) || request.seen.size() >= p_.options.context_tokens) {
    return finish(request, FinishReason::length, std::move(event));
  }
  emit(request, std::move(event));
}

void NativeEngine::finish(Request& request, FinishReason reason, GenerationEvent event) {
  auto rest = request.stops.push(request.decoder.finish());
  event.text += rest.text + request.stops.flush();
  event.finish_reason = reason;
  event.usage.prompt_tokens = request.prompt.size();
  event.usage.completion_tokens = request.generated;
  event.usage.cached_tokens = request.cached;
  event.timings.load_ms = p_.load_ms;
  event.timings.prefill_ms = request.prefill_ms;
  if (request.generated > 0) {
    event.timings.first_token_ms = ms_between(request.submitted, request.first_token);
    event.timings.decode_ms = ms_between(request.first_token, Clock::now());
  }
  request.finished = true;
  request.beam_runs.clear();
  if (request.on_end) std::exchange(request.on_end, nullptr)(request);
  else keep_prefix(request);
  // An event that waits comes first; the last one must not overtake or replace it.
  if (request.held && *request.held) {
    GenerationEvent& before = **request.held;
    if (!event.token) {
      event.token = before.token;
      event.logprob = before.logprob;
      event.top_logprobs = std::move(before.top_logprobs);
      event.text = before.text + event.text;
      request.held.reset();
    }
  }
  emit(request, std::move(event));
}

void NativeEngine::fail_request(Request& request, Error error) {
  request.finished = true;
  request.beam_runs.clear();
  if (request.on_end) std::exchange(request.on_end, nullptr)(request);
  request.run.clear();
  emit(request, fail(std::move(error)));
}

void NativeEngine::emit(Request& request, Result<GenerationEvent> event) {
  if (!request.events.try_send(event) && !request.events.closed()) request.held = std::move(event);
}

void NativeEngine::keep_prefix(Request& request) {
  if (!p_.options.prefix_cache || request.run.ids.empty()) return request.run.clear();
  cache_.push_front(std::move(request.run));
  request.run = TokenRun(p_.pool);
  if (cache_.size() > kCachedRuns) cache_.pop_back();
}

Status NativeEngine::step_with_room(Stepper& stepper, std::span<Stepper::Part> parts, std::vector<float>& logits) {
  auto status = stepper.step(parts, logits);
  while (!status && status.error().code() == ErrorCode::out_of_memory && evict()) status = stepper.step(parts, logits);
  return status;
}

Status NativeEngine::step_before_others(Stepper& stepper, std::span<Stepper::Part> parts, std::vector<float>& logits) {
  while (true) {
    auto status = step_with_room(stepper, parts, logits);
    if (status || status.error().code() != ErrorCode::out_of_memory) return status;
    const auto newest = std::find_if(running_.rbegin(), running_.rend(), [](const auto& each) { return each->can_wait(); });
    if (newest == running_.rend()) return status;
    put_back(**newest);
  }
}

// Its pages go to the others; what it has said stays, and is read again when it is its turn.
void NativeEngine::put_back(Request& request) {
  request.run.clear();
  request.put_back = true;
  const auto at = std::find_if(running_.begin(), running_.end(), [&](const auto& each) { return each.get() == &request; });
  waiting_.push_front(std::move(*at));
  running_.erase(at);
}

bool NativeEngine::room_for(const Request& request) {
  const auto page_tokens = static_cast<std::size_t>(p_.pool->shape().page_tokens);
  // And a page for each that runs, or it would be put back at once.
  const auto wanted = static_cast<std::int64_t>(request.seen.size() / page_tokens + 1 + running_.size());
  while (p_.pool->free_pages() < wanted) if (!evict()) return false;
  return true;
}

bool NativeEngine::evict() {
  if (cache_.empty()) return false;
  cache_.pop_back();
  return true;
}

}  // namespace corvid::llm
