#include "llm/replay/recording.hpp"

#include <algorithm>
#include <fstream>
#include <set>
#include <system_error>
#include <utility>

#include "llm/replay/generation_json.hpp"

namespace corvid::llm {

namespace {

constexpr const char* kFormat = "corvid-replay";
constexpr int kVersion = 1;
constexpr std::size_t kShownBytes = 80;

Status header(const Json& json, Recording& out) {
  const auto wrong = [](const std::string& what) { return fail(Error::bad_input("the first line is no recording's header: " + what)); };
  if (!json.is_object() || json.value("format", Json()) != kFormat) return wrong(std::string("its format is not ") + kFormat);
  if (json.value("version", Json()) != kVersion) return fail(Error::unsupported("the recording's version is not 1, the one that is known").at_key("version"));
  const auto model = json.find("model");
  if (model == json.end() || !model->is_string()) return wrong("it names no model");
  out.model = model->get<std::string>();
  const auto context = json.find("context_tokens");
  if (context == json.end() || context->is_null()) return {};
  if (!context->is_number_unsigned()) return wrong("context_tokens is not a count");
  out.context_tokens = context->get<std::uint64_t>();
  return {};
}

Status answer(const Json& json, Recording& out) {
  if (!json.is_object()) return fail(Error::bad_input("it is not an object"));
  const auto request = json.find("request");
  if (request == json.end() || !request->is_object()) return fail(Error::bad_input("it has no request").at_key("request"));
  const bool has_events = json.contains("events"), has_error = json.contains("error");
  if (has_events == has_error) return fail(Error::bad_input("it must have events or an error"));
  RecordedAnswer recorded;
  if (has_error) {
    auto error = error_from_json(json["error"]);
    if (!error) return fail(std::move(error.error()));
    recorded.error = std::move(*error);
  } else {
    const Json& events = json["events"];
    if (!events.is_array() || events.empty()) return fail(Error::bad_input("its events are not an array of at least one").at_key("events"));
    for (const Json& item : events) {
      CORVID_TRY(auto event, event_from_json(item));
      if (event.finish_reason.has_value() != (&item == &events.back())) {
        return fail(Error::bad_input("the last event, and no other, must have a finish_reason").at_key("finish_reason"));
      }
      recorded.events.push_back(std::move(event));
    }
  }
  RecordedRequest& entry = out.requests[dump_json(*request)];
  entry.request = *request;
  entry.answers.push_back(std::move(recorded));
  return {};
}

Result<std::string> read_whole(const std::filesystem::path& file, std::size_t max_bytes) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure) {
    if (failure == std::errc::no_such_file_or_directory) return fail(Error::not_found("no recording is there; record one first").at_file(file.string()));
    return fail(Error::io("the recording cannot be read: " + failure.message()).at_file(file.string()));
  }
  if (size > max_bytes) {
    return fail(Error::limit_exceeded("the recording has " + std::to_string(size) + " bytes; " + std::to_string(max_bytes) + " are allowed").at_file(file.string()));
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  std::ifstream in(file, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(text.size())) && !text.empty()) {
    return fail(Error::io("the recording cannot be read").at_file(file.string()));
  }
  return text;
}

// Every place where two values differ, up to `most`; keys in order, so that the first is always the same one.
void differences(const Json& recorded, const Json& asked, const std::string& at, std::size_t most, std::vector<std::string>& out) {
  if (out.size() >= most || recorded == asked) return;
  if (recorded.is_object() && asked.is_object()) {
    std::set<std::string> keys;
    for (const auto& [key, value] : recorded.items()) keys.insert(key);
    for (const auto& [key, value] : asked.items()) keys.insert(key);
    for (const auto& key : keys) {
      Json::json_pointer step;
      step.push_back(key);
      if (recorded.contains(key) && asked.contains(key)) differences(recorded[key], asked[key], at + step.to_string(), most, out);
      else if (out.size() < most) out.push_back(at + step.to_string());
    }
  } else if (recorded.is_array() && asked.is_array()) {
    for (std::size_t i = 0; i < std::max(recorded.size(), asked.size()); ++i) {
      const std::string place = at + "/" + std::to_string(i);
      if (i < recorded.size() && i < asked.size()) differences(recorded[i], asked[i], place, most, out);
      else if (out.size() < most) out.push_back(place);
    }
  } else {
    out.push_back(at);
  }
}

std::string shown(const Json& request, const std::string& pointer) {
  const Json::json_pointer place(pointer);
  if (!request.contains(place)) return "nothing";
  std::string text = dump_json(request[place]);
  if (text.size() <= kShownBytes) return text;
  std::size_t cut = kShownBytes;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  return text.substr(0, cut) + "…";
}

}  // namespace

std::string header_line(std::string_view model, std::optional<std::uint64_t> context_tokens) {
  Json out{{"format", kFormat}, {"version", kVersion}, {"model", std::string(model)}};
  if (context_tokens) out["context_tokens"] = *context_tokens;
  return dump_json(out) + "\n";
}

std::string answer_line(const Json& request, const std::vector<GenerationEvent>& events) {
  Json list = Json::array();
  for (const auto& event : events) list.push_back(event_json(event));
  return dump_json(Json{{"request", request}, {"events", std::move(list)}}) + "\n";
}

std::string error_line(const Json& request, const Error& error) {
  return dump_json(Json{{"request", request}, {"error", error_json(error)}}) + "\n";
}

Result<Recording> read_recording(const std::filesystem::path& file, const ReplayOptions& options) {
  CORVID_TRY(const std::string text, read_whole(file, options.max_bytes));
  Recording out;
  std::size_t line = 0;
  for (std::size_t at = 0; at < text.size() || line == 0;) {
    ++line;
    const std::size_t end = text.find('\n', at);
    const auto damaged = [&](const Error& cause) {
      Error error(cause.code(), "line " + std::to_string(line) + " of the recording: " + cause.message());
      error = std::move(error).at_file(file.string()).at_offset(at + cause.offset().value_or(0));
      return cause.key().empty() ? fail(std::move(error)) : fail(std::move(error).at_key(cause.key()));
    };
    if (end == std::string::npos) return damaged(Error::bad_input("it has no end; the file was cut: delete the line or record again"));
    const auto json = parse_json(std::string_view(text).substr(at, end - at));
    if (!json) return damaged(json.error());
    const auto status = line == 1 ? header(*json, out) : answer(*json, out);
    if (!status) return damaged(status.error());
    at = end + 1;
  }
  return out;
}

Error not_recorded(const Recording& recording, const Json& asked) {
  if (recording.requests.empty()) return Error::not_found("the recording has no requests; record some first");
  constexpr std::size_t kMost = 64;
  std::vector<std::string> nearest;
  const Json* like = nullptr;
  for (const auto& [text, entry] : recording.requests) {
    std::vector<std::string> here;
    differences(entry.request, asked, "", like ? nearest.size() : kMost, here);
    if (like && here.size() >= nearest.size()) continue;
    nearest = std::move(here);
    like = &entry.request;
  }
  const std::string& first = nearest.front();
  std::string message = "this request was not recorded; the nearest of " + std::to_string(recording.requests.size()) + " has at " + first + " " +
                        shown(*like, first) + ", asked was " + shown(asked, first);
  if (nearest.size() > 1) message += " (" + std::to_string(nearest.size() - 1) + (nearest.size() == kMost ? " or more" : "") + " other differences)";
  return Error::not_found(std::move(message)).at_key(first);
}

}  // namespace corvid::llm
