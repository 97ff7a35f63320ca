#include "corvid/llm/replay_chat_model.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>
#include <utility>

#include "llm/message/listed_events.hpp"
#include "llm/replay/generation_json.hpp"
#include "llm/replay/recording.hpp"

namespace corvid {

struct ReplayChatModel::State {
  std::filesystem::path file;
  ReplayOptions options;
  std::shared_ptr<ChatModel> model;       // null: replaying
  llm::Recording recording;               // when replaying; else only its header
  std::mutex mutex;
  int descriptor = -1;                    // appended to, when recording
  std::uint64_t size_bytes = 0;

  ~State() {
    if (descriptor >= 0) ::close(descriptor);
  }
  /// A whole line or none of it: what a failed write left is cut off again.
  Status append(std::string_view line) {
    const std::lock_guard lock(mutex);
    for (std::size_t done = 0; done < line.size();) {
      const ssize_t n = ::write(descriptor, line.data() + done, line.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        const std::string why = n < 0 ? std::strerror(errno) : "nothing was written";
        const bool whole = ::ftruncate(descriptor, static_cast<off_t>(size_bytes)) == 0;
        return fail(Error::io("the recording cannot be written: " + why + (whole ? "" : "; its last line is cut")).at_file(file.string()));
      }
      done += static_cast<std::size_t>(n);
    }
    size_bytes += line.size();
    return {};
  }
};

namespace {

// Passes a stream on and writes it down when its last event comes.
template <class State>
class RecordingSource final : public EventStream::Source {
 public:
  RecordingSource(std::shared_ptr<State> state, Json request, EventStream stream)
      : state_(std::move(state)), request_(std::move(request)), stream_(std::move(stream)) {}

  boost::asio::awaitable<std::optional<Result<GenerationEvent>>> next() override {
    if (done_) co_return std::nullopt;
    auto event = co_await stream_.next();
    co_return note(std::move(event));
  }
  std::optional<Result<GenerationEvent>> next_blocking() override {
    if (done_) return std::nullopt;
    return note(stream_.next_blocking());
  }
  void cancel() override { stream_.cancel(); }

 private:
  std::optional<Result<GenerationEvent>> note(std::optional<Result<GenerationEvent>> event) {
    done_ = !event || !*event;
    if (done_) return event;
    seen_.push_back(**event);
    const auto reason = (*event)->finish_reason;
    if (!reason) return event;
    done_ = true;
    if (*reason == FinishReason::cancelled || *reason == FinishReason::deadline) return event;
    if (auto written = state_->append(llm::answer_line(request_, seen_)); !written) return Result<GenerationEvent>(fail(std::move(written.error())));
    return event;
  }

  std::shared_ptr<State> state_;
  Json request_;
  EventStream stream_;
  std::vector<GenerationEvent> seen_;
  bool done_ = false;
};

}  // namespace

ReplayChatModel::ReplayChatModel(std::shared_ptr<State> state) : state_(std::move(state)) {}
ReplayChatModel::~ReplayChatModel() = default;

Result<std::unique_ptr<ReplayChatModel>> ReplayChatModel::open(const std::filesystem::path& file, const ReplayOptions& options) {
  auto state = std::make_shared<State>();
  state->file = file;
  state->options = options;
  CORVID_TRY(state->recording, llm::read_recording(file, options));
  return std::unique_ptr<ReplayChatModel>(new ReplayChatModel(std::move(state)));
}

Result<std::unique_ptr<ReplayChatModel>> ReplayChatModel::record(const std::filesystem::path& file, std::shared_ptr<ChatModel> model, const ReplayOptions& options) {
  if (!model) return fail(Error::invalid_argument("recording needs a model to ask").at_key("model"));
  auto state = std::make_shared<State>();
  state->file = file;
  state->options = options;
  state->recording.model = model->name();
  state->recording.context_tokens = model->context_tokens();
  std::error_code failure;
  const bool there = std::filesystem::exists(file, failure) && std::filesystem::file_size(file, failure) > 0;
  if (there) {
    CORVID_TRY(const auto old, llm::read_recording(file, options));
    if (old.model != model->name()) {
      return fail(Error::conflict("the recording is of the model '" + old.model + "', not of '" + std::string(model->name()) + "'; record into another file").at_file(file.string()));
    }
    state->size_bytes = std::filesystem::file_size(file, failure);
  }
  state->descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (state->descriptor < 0) return fail(Error::io(std::string("the recording cannot be opened for writing: ") + std::strerror(errno)).at_file(file.string()));
  if (!there) CORVID_TRY_STATUS(state->append(llm::header_line(model->name(), model->context_tokens())));
  state->model = std::move(model);
  return std::unique_ptr<ReplayChatModel>(new ReplayChatModel(std::move(state)));
}

Task<EventStream> ReplayChatModel::chat(ChatRequest request) {
  const auto state = state_;
  CORVID_CO_TRY_STATUS(request.cancellation.check());
  Json asked = llm::request_json(request);
  if (state->model) {
    auto stream = co_await state->model->chat(std::move(request));
    if (!stream) {
      const ErrorCode code = stream.error().code();
      const bool told = code == ErrorCode::cancelled || code == ErrorCode::deadline_exceeded;  // by us, not by the model
      if (!told) CORVID_CO_TRY_STATUS(state->append(llm::error_line(asked, stream.error())));
      co_return fail(std::move(stream.error()));
    }
    auto source = std::make_unique<RecordingSource<State>>(state, std::move(asked), std::move(*stream));
    co_return EventStream(std::move(source));
  }
  llm::RecordedAnswer answer;
  {
    const std::lock_guard lock(state->mutex);  // held over no suspension
    const auto found = state->recording.requests.find(dump_json(asked));
    if (found == state->recording.requests.end()) co_return fail(llm::not_recorded(state->recording, asked).at_file(state->file.string()));
    auto& entry = found->second;
    if (entry.given == entry.answers.size() && !state->options.repeat) {
      co_return fail(Error::not_found("this request was recorded " + std::to_string(entry.answers.size()) + " times and is asked once more").at_file(state->file.string()));
    }
    answer = entry.answers[std::min(entry.given, entry.answers.size() - 1)];
    entry.given = std::min(entry.given + 1, entry.answers.size());
  }
  if (answer.error) co_return fail(*answer.error);
  auto source = std::make_unique<llm::ListedEvents>(std::move(answer.events), std::move(request.cancellation));
  co_return EventStream(std::move(source));
}

std::string_view ReplayChatModel::name() const noexcept { return state_->recording.model; }
std::optional<std::uint64_t> ReplayChatModel::context_tokens() const noexcept { return state_->recording.context_tokens; }

std::optional<std::uint64_t> ReplayChatModel::count_tokens(const ChatRequest& request) const {
  return state_->model ? state_->model->count_tokens(request) : std::nullopt;
}

}  // namespace corvid
