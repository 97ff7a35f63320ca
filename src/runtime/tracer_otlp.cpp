#include "tracer_otlp.hpp"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <deque>
#include <system_error>
#include <thread>

#include "corvid/runtime/runtime.hpp"
#include "tracer_span.hpp"

namespace corvid {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kRetryPause = 1s, kMostRetryPause = 5s, kLastPatience = 2s;

// What spans and the sender share. Spans that outlive the tracer find it closed.
class Queue : public SpanSink {
 public:
  Queue(Runtime& runtime, std::size_t most)
      : dropped_(&runtime.metrics().at("tracing.spans_dropped")), most_(std::max<std::size_t>(most, 1)) {}

  void ended(SpanRecord record, bool sampled) noexcept override {
    if (!sampled) return;
    std::lock_guard lock(mutex);
    if (closing) return;
    ++added;
    try {
      if (waiting.size() < most_) {
        waiting.push_back(std::move(record));
        if (waiting.size() == 1 || waiting.size() == batch) changed.notify_all();
        return;
      }
    } catch (const std::bad_alloc&) {  // a span less, where memory is short
    }
    drop(1, "the queue is full");
  }
  // Under the mutex.
  void drop(std::size_t spans, std::string why) {
    gone += spans;
    lost += spans;
    why_lost = std::move(why);
    dropped_->add(static_cast<std::int64_t>(spans));
    changed.notify_all();
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<SpanRecord> waiting;
  std::uint64_t added = 0, gone = 0;  // spans that came, and that were sent or dropped
  std::uint64_t wanted = 0;           // what a flush() waits for
  std::uint64_t lost = 0;             // since the last flush()
  std::string why_lost;
  std::size_t batch = 1;
  bool closing = false, stopping = false;

 private:
  Metric* const dropped_;
  const std::size_t most_;
};

class OtlpTracer : public Tracer {
 public:
  OtlpTracer(Runtime& runtime, HttpUrl endpoint, OtlpOptions options)
      : runtime_(runtime),
        options_(std::move(options)),
        poster_(std::move(endpoint), options_),
        queue_(std::make_shared<Queue>(runtime, options_.queue)) {
    queue_->batch = std::clamp<std::size_t>(options_.batch, 1, std::max<std::size_t>(options_.queue, 1));
    thread_ = std::thread([this] { run(); });
  }
  ~OtlpTracer() override {
    {
      std::unique_lock lock(queue_->mutex);
      queue_->closing = true;
      queue_->changed.notify_all();
      queue_->changed.wait_for(lock, kLastPatience, [&] { return queue_->gone == queue_->added; });
      queue_->stopping = true;
      queue_->changed.notify_all();
    }
    poster_.stop();
    thread_.join();
  }

  std::unique_ptr<Span> start(std::string_view name, std::string_view traceparent) override {
    return std::make_unique<RecordedSpan>(queue_, name, traceparent);
  }

  Status flush(std::chrono::milliseconds patience) override {
    Queue& q = *queue_;
    std::unique_lock lock(q.mutex);
    const std::uint64_t target = q.added;
    q.wanted = std::max(q.wanted, target);
    q.changed.notify_all();
    const bool all = q.changed.wait_for(lock, patience, [&] { return q.gone >= target; });
    const std::uint64_t lost = std::exchange(q.lost, 0);
    if (!all) return fail(Error::deadline_exceeded(std::to_string(target - q.gone) + " spans still wait for " + poster_.endpoint().name()));
    if (lost > 0)
      return fail(Error::network(std::to_string(lost) + " spans could not be delivered to " + poster_.endpoint().name() + ": " + q.why_lost));
    return {};
  }

 private:
  void run() {
    // The host's signals are for its own threads, and a collector that hangs up must not end the process.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    Queue& q = *queue_;
    std::unique_lock lock(q.mutex);
    while (true) {
      q.changed.wait(lock, [&] { return q.closing || !q.waiting.empty(); });
      q.changed.wait_for(lock, options_.interval, [&] { return q.closing || q.waiting.size() >= q.batch || q.wanted > q.gone; });
      if (q.stopping && !q.waiting.empty()) {
        q.drop(q.waiting.size(), "the tracer ended");
        q.waiting.clear();
      }
      if (q.waiting.empty()) {
        if (q.closing) return;
        continue;
      }
      const auto end = q.waiting.begin() + static_cast<std::ptrdiff_t>(std::min(q.batch, q.waiting.size()));
      std::vector<SpanRecord> spans(std::make_move_iterator(q.waiting.begin()), std::make_move_iterator(end));
      q.waiting.erase(q.waiting.begin(), end);
      lock.unlock();
      otlp::Answer answer;
      try {
        answer = deliver(dump_json(otlp::request(spans, options_)));
      } catch (const std::exception& thrown) {  // out of memory; the work goes on without these
        answer.reason = thrown.what();
      }
      lock.lock();
      account(q, spans.size(), answer);
    }
  }

  otlp::Answer deliver(const std::string& body) {
    otlp::Answer answer = poster_.post(body);
    if (answer.status != 429 && answer.status != 502 && answer.status != 503 && answer.status != 504) return answer;
    const auto asked = parse_retry_after(answer.retry_after, std::time(nullptr)).value_or(kRetryPause);
    if (asked > kMostRetryPause) return answer;
    std::unique_lock lock(queue_->mutex);
    if (queue_->changed.wait_for(lock, asked, [&] { return queue_->stopping; })) return answer;
    lock.unlock();
    return poster_.post(body);
  }

  // Under the queue's mutex.
  void account(Queue& q, std::size_t spans, const otlp::Answer& answer) {
    std::size_t lost = spans;
    std::string why = answer.reason;
    if (answer.status >= 200 && answer.status <= 299) {
      auto [count, said] = otlp::refused(answer.body);
      lost = static_cast<std::size_t>(std::clamp<std::int64_t>(count, 0, static_cast<std::int64_t>(spans)));
      why = "the collector refused them" + (said.empty() ? said : ": " + said);
    } else {
      runtime_.metrics().at("tracing.requests_failed").add();
    }
    runtime_.metrics().at("tracing.spans_sent").add(static_cast<std::int64_t>(spans - lost));
    q.gone += spans - lost;
    if (lost == 0) {
      complained_ = false;
      q.changed.notify_all();
      return;
    }
    q.drop(lost, why);
    // One line for a collector that is away, not one a second.
    if (!std::exchange(complained_, true)) {
      runtime_.log(LogLevel::warn, "tracing",
                   std::to_string(lost) + " spans could not be delivered to " + poster_.endpoint().name() + ": " + why);
    }
  }

  Runtime& runtime_;
  const OtlpOptions options_;
  otlp::Poster poster_;
  const std::shared_ptr<Queue> queue_;
  bool complained_ = false;  // the sender's
  std::thread thread_;
};

bool header_name(std::string_view name) {
  const auto token = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), token);
}
bool header_value(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f); });
}

}  // namespace

Result<std::shared_ptr<Tracer>> make_otlp_tracer(Runtime& runtime, OtlpOptions options) {
  CORVID_TRY(auto endpoint, otlp::parse_endpoint(options.endpoint, options.allow_plain_http));
  for (const auto& [name, value] : options.headers) {
    // The value may be a key: it is not repeated.
    if (!header_name(name) || !header_value(value))
      return fail(Error::invalid_argument("the header '" + name + "' is none: a name or value has a character that HTTP does not allow")
                      .at_key("headers"));
  }
  if (options.timeout <= 0ms) return fail(Error::invalid_argument("the timeout must be above 0").at_key("timeout"));
  try {
    return std::make_shared<OtlpTracer>(runtime, std::move(endpoint), std::move(options));
  } catch (const std::system_error& thrown) {
    return fail(Error::limit_exceeded(std::string("no thread could be started for the tracer: ") + thrown.what()));
  }
}

}  // namespace corvid
