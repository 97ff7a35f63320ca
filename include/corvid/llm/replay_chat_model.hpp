// ReplayChatModel: answers as another model gave them, from a file. Tests of what talks to a model then need no model.
//
//   CORVID_TRY(auto recorder, ReplayChatModel::record("trip.jsonl", engine));   // asks `engine`, writes what it answers
//   CORVID_TRY(auto replay, ReplayChatModel::open("trip.jsonl"));               // answers the same requests the same way
//
// The file is JSON Lines: a header, then a request with its events, or with the error that chat() gave, a line. It may be edited by
// hand and kept beside the test that uses it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

#include "corvid/llm/chat_model.hpp"

namespace corvid {

struct ReplayOptions {
  bool repeat = false;                                ///< a request asked more often than it was recorded gets its last answer again
  std::size_t max_bytes = std::size_t{1} << 30;       ///< of the file
};

/// Thread-safe. Requests are equal when messages, tools, response format, sampling, max_tokens, stop strings and the constraint's
/// saved state are; the n-th request of a kind gets the n-th answer that was recorded to it, whatever else is asked between.
class ReplayChatModel final : public ChatModel {
 public:
  /// Passes requests on to `model` and appends each with its whole answer when its last event is read, or its error. A stream that is
  /// cut off, cancelled or dropped is not recorded. Makes the file, or goes on with one that is whole and of a model of this name.
  /// Errors: io, conflict (another model's file), those of open().
  static Result<std::unique_ptr<ReplayChatModel>> record(const std::filesystem::path& file, std::shared_ptr<ChatModel> model, const ReplayOptions& options = {});

  /// Reads and checks the whole file. Errors: not_found, io, limit_exceeded (size), bad_input (line in the message, byte offset in
  /// the file).
  static Result<std::unique_ptr<ReplayChatModel>> open(const std::filesystem::path& file, const ReplayOptions& options = {});

  ~ReplayChatModel() override;

  /// Replaying: errors as recorded; not_found for a request that was not recorded, or not so often, with the JSON pointer of the
  /// first difference from the recorded request that is most like it. Cancellation and deadline end a replayed stream.
  /// Recording: errors of the model; the stream ends in io when the file cannot be written.
  Task<EventStream> chat(ChatRequest request) override;
  std::string_view name() const noexcept override;
  std::optional<std::uint64_t> context_tokens() const noexcept override;
  std::optional<std::uint64_t> count_tokens(const ChatRequest& request) const override;   ///< recording only: the model's own

 private:
  struct State;
  explicit ReplayChatModel(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace corvid
