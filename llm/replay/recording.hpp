// Recording: the file of requests and answers, read whole, appended to a line at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "corvid/llm/replay_chat_model.hpp"

namespace corvid::llm {

struct RecordedAnswer {
  std::vector<GenerationEvent> events;
  std::optional<Error> error;             // instead of events
};

struct RecordedRequest {
  Json request;
  std::vector<RecordedAnswer> answers;    // in the order recorded
  std::size_t given = 0;
};

struct Recording {
  std::string model;
  std::optional<std::uint64_t> context_tokens;
  std::map<std::string, RecordedRequest> requests;   // by the request's JSON text
};

std::string header_line(std::string_view model, std::optional<std::uint64_t> context_tokens);
/// One line, with its line feed.
std::string answer_line(const Json& request, const std::vector<GenerationEvent>& events);
std::string error_line(const Json& request, const Error& error);

/// Errors: as ReplayChatModel::open().
Result<Recording> read_recording(const std::filesystem::path& file, const ReplayOptions& options);

/// "what was asked differs from what was recorded": the JSON pointer of the first difference from the nearest recorded request.
Error not_recorded(const Recording& recording, const Json& asked);

}  // namespace corvid::llm
