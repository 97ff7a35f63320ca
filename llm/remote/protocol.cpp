#include "llm/remote/protocol.hpp"

#include <array>
#include <iterator>
#include <limits>
#include <utility>

namespace corvid::llm {

namespace {

constexpr std::size_t kMaxToolCalls = 256;
constexpr std::size_t kMaxRefusalBytes = 2000;
constexpr std::array<const char*, 4> kExtendedParameters = {"top_k", "min_p", "typical_p", "repetition_penalty"};

Error malformed(const std::string& what, const char* key) {
  return Error::bad_input("the endpoint's answer is not of the chat completions protocol: " + what).at_key(key);
}

const Json* member(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<std::string> text_of(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (!value) return std::string();
  if (!value->is_string()) return fail(malformed(std::string("'") + key + "' is not a string", key));
  return value->get<std::string>();
}

std::uint64_t count_of(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value && value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
}

Result<float> logprob_of(const Json& entry) {
  const Json* value = member(entry, "logprob");
  if (!value) return -std::numeric_limits<float>::infinity();  // JSON has no infinity; some endpoints write null
  if (!value->is_number()) return fail(malformed("a log probability is not a number", "logprob"));
  return value->get<float>();
}

TokenId id_of(const Json& entry) {
  const Json* value = member(entry, "id");
  if (!value || !value->is_number_integer()) return -1;
  const auto id = value->get<std::int64_t>();
  return id >= 0 && id <= std::numeric_limits<TokenId>::max() ? static_cast<TokenId>(id) : -1;
}

// One event a token. The text goes with its tokens when they spell it exactly; a character cut between tokens goes with the first.
Status add_logprobs(const Json& content, std::string text, std::vector<GenerationEvent>& events) {
  if (!content.is_array()) return fail(malformed("'logprobs' is not an array", "logprobs"));
  std::string spelled;
  std::vector<GenerationEvent> out;
  for (const auto& entry : content) {
    if (!entry.is_object()) return fail(malformed("a log probability is not an object", "logprobs"));
    GenerationEvent event;
    CORVID_TRY(event.text, text_of(entry, "token"));
    CORVID_TRY(event.logprob, logprob_of(entry));
    if (const TokenId id = id_of(entry); id >= 0) event.token = id;
    if (const Json* top = member(entry, "top_logprobs")) {
      if (!top->is_array()) return fail(malformed("'top_logprobs' is not an array", "top_logprobs"));
      for (const auto& other : *top) {
        if (!other.is_object()) return fail(malformed("a log probability is not an object", "top_logprobs"));
        CORVID_TRY(const float logprob, logprob_of(other));
        event.top_logprobs.push_back({id_of(other), logprob});
      }
    }
    spelled += event.text;
    out.push_back(std::move(event));
  }
  if (spelled != text) {
    for (auto& event : out) event.text.clear();
    if (out.empty()) out.emplace_back();
    out.front().text = std::move(text);
  }
  for (auto& event : out) events.push_back(std::move(event));
  return {};
}

Result<FinishReason> finish_of(const std::string& name) {
  if (name == "stop" || name == "eos" || name == "content_filter") return FinishReason::stop;
  if (name == "length") return FinishReason::length;
  if (name == "tool_calls" || name == "function_call") return FinishReason::tool_calls;
  return fail(malformed("unknown finish reason '" + name.substr(0, 80) + "'", "finish_reason"));
}

Status add_sampling(Json& body, const SamplingParams& p, bool extended) {
  body["temperature"] = p.temperature;
  body["seed"] = p.seed;
  if (p.top_p != 1.0f) body["top_p"] = p.top_p;
  if (p.presence_penalty != 0.0f) body["presence_penalty"] = p.presence_penalty;
  if (p.frequency_penalty != 0.0f) body["frequency_penalty"] = p.frequency_penalty;
  for (const auto& [id, bias] : p.logit_bias) body["logit_bias"][std::to_string(id)] = bias;
  if (p.logprobs >= 0) {
    body["logprobs"] = true;
    body["top_logprobs"] = p.logprobs;
  }
  if (p.penalty_window != -1) {
    return fail(Error::unsupported("penalty_window cannot be asked of a remote endpoint; leave it at -1").at_key("penalty_window"));
  }
  const auto more = [&](const char* key, bool set, const Json& value) -> Status {
    if (!set) return {};
    if (!extended) {
      return fail(Error::unsupported(std::string(key) + " is outside the chat completions protocol; set extended_sampling if this endpoint "
                                                        "knows it, or leave it off").at_key(key));
    }
    body[key] = value;
    return {};
  };
  CORVID_TRY_STATUS(more("top_k", p.top_k != 0, p.top_k));
  CORVID_TRY_STATUS(more("min_p", p.min_p != 0.0f, p.min_p));
  CORVID_TRY_STATUS(more("typical_p", p.typical_p != 1.0f, p.typical_p));
  return more("repetition_penalty", p.repetition_penalty != 1.0f, p.repetition_penalty);
}

}  // namespace

Result<Json> request_body(const ChatRequest& request, const RemoteChatOptions& options) {
  if (request.messages.empty()) return fail(Error::invalid_argument("a chat request needs at least one message").at_key("messages"));
  if (request.max_tokens <= 0) return fail(Error::invalid_argument("max_tokens must be at least 1").at_key("max_tokens"));
  if (request.constraint) {
    return fail(Error::unsupported("a TokenConstraint works on the native engine only; a remote endpoint takes a response format").at_key("constraint"));
  }
  Json body{{"model", options.model}, {"stream", true}, {"stream_options", Json{{"include_usage", true}}}};
  body["messages"] = to_json(std::span<const Message>(request.messages));
  body[options.max_tokens_key] = request.max_tokens;
  if (!request.stop.empty()) body["stop"] = request.stop;
  for (const auto& tool : request.tools) body["tools"].push_back(to_json(tool));
  const auto& format = request.response_format;
  if (format.kind == ResponseFormat::Kind::json_object) body["response_format"] = Json{{"type", "json_object"}};
  if (format.kind == ResponseFormat::Kind::json_schema) {
    Json schema{{"name", format.name.empty() ? "answer" : format.name}, {"schema", format.schema}, {"strict", true}};
    body["response_format"] = Json{{"type", "json_schema"}, {"json_schema", std::move(schema)}};
  }
  CORVID_TRY_STATUS(add_sampling(body, request.sampling, options.extended_sampling));
  body.merge_patch(options.extra_body);
  return body;
}

std::string refused_parameter(const Json& body, std::string_view refusal) {
  for (const char* key : kExtendedParameters) {
    if (body.contains(key) && refusal.find(key) != std::string_view::npos) return key;
  }
  return {};
}

std::string refusal_text(std::string_view body) {
  std::string text(body.substr(0, kMaxRefusalBytes));
  if (auto json = parse_json(body); json && json->is_object()) {
    const Json* error = member(*json, "error");
    const Json* message = error && error->is_object() ? member(*error, "message") : error ? error : member(*json, "message");
    if (message && message->is_string()) text = message->get<std::string>().substr(0, kMaxRefusalBytes);
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return text;
}

Status AnswerReader::tool_calls(const Json& calls) {
  if (!calls.is_array()) return fail(malformed("'tool_calls' is not an array", "tool_calls"));
  std::size_t position = 0;
  for (const auto& piece : calls) {
    if (!piece.is_object()) return fail(malformed("a tool call is not an object", "tool_calls"));
    std::size_t index = position++;
    if (const Json* given = member(piece, "index")) {
      if (!given->is_number_unsigned()) return fail(malformed("a tool call's index is not a number", "index"));
      index = given->get<std::size_t>();
    }
    CORVID_TRY(auto id, text_of(piece, "id"));
    auto& there = calls_[index];
    // Some endpoints give every call the same index, or none: another id under it is another call.
    if (there.empty() || (!id.empty() && !there.back().id.empty() && there.back().id != id)) {
      if (++call_count_ > kMaxToolCalls) {
        return fail(Error::limit_exceeded("the endpoint's answer has over " + std::to_string(kMaxToolCalls) + " tool calls").at_key("tool_calls"));
      }
      there.emplace_back();
    }
    Call& call = there.back();
    if (!id.empty()) call.id = std::move(id);
    const Json* function = member(piece, "function");
    if (!function) continue;
    if (!function->is_object()) return fail(malformed("a tool call's 'function' is not an object", "function"));
    CORVID_TRY(auto name, text_of(*function, "name"));
    if (name != call.name) call.name += name;  // some endpoints repeat the name with every piece
    const Json* arguments = member(*function, "arguments");
    if (arguments && arguments->is_object()) {  // some endpoints send the object itself
      call.arguments = dump_json(*arguments);
    } else {
      CORVID_TRY(auto text, text_of(*function, "arguments"));
      call.arguments += text;
    }
  }
  return {};
}

Status AnswerReader::choice(const Json& choice, std::vector<GenerationEvent>& events) {
  if (!choice.is_object()) return fail(malformed("a choice is not an object", "choices"));
  const Json* delta = member(choice, "delta");
  if (!delta) delta = member(choice, "message");
  std::string text;
  if (delta) {
    if (!delta->is_object()) return fail(malformed("'delta' is not an object", "delta"));
    CORVID_TRY(text, text_of(*delta, "content"));
    CORVID_TRY(const auto refusal, text_of(*delta, "refusal"));
    text += refusal;
    if (const Json* calls = member(*delta, "tool_calls")) CORVID_TRY_STATUS(tool_calls(*calls));
  }
  const Json* logprobs = member(choice, "logprobs");
  const Json* content = logprobs && logprobs->is_object() ? member(*logprobs, "content") : nullptr;
  if (content && !content->empty()) {
    CORVID_TRY_STATUS(add_logprobs(*content, std::move(text), events));
  } else if (!text.empty()) {
    events.emplace_back();
    events.back().text = std::move(text);
  }
  CORVID_TRY(const auto reason, text_of(choice, "finish_reason"));
  if (!reason.empty()) {
    CORVID_TRY(finish_, finish_of(reason));
  }
  return {};
}

Status AnswerReader::chunk(std::string_view text, std::uint64_t offset, std::vector<GenerationEvent>& events) {
  auto json = parse_json(text);
  if (!json) {
    const std::uint64_t at = offset + json.error().offset().value_or(0);
    return fail(malformed("it is not JSON", "data").at_offset(at).caused_by(json.error()));
  }
  auto status = object(*json, text, events);
  if (!status) return fail(std::move(status.error()).at_offset(offset));
  return {};
}

Status AnswerReader::object(const Json& json, std::string_view text, std::vector<GenerationEvent>& events) {
  if (!json.is_object()) return fail(malformed("it is not a JSON object", "data"));
  if (member(json, "error")) return fail(Error::rejected("the endpoint broke off: " + refusal_text(text)));
  if (const Json* usage = member(json, "usage"); usage && usage->is_object()) {
    usage_.prompt_tokens = count_of(*usage, "prompt_tokens");
    usage_.completion_tokens = count_of(*usage, "completion_tokens");
    const Json* details = member(*usage, "prompt_tokens_details");
    if (details && details->is_object()) usage_.cached_tokens = count_of(*details, "cached_tokens");
  }
  const Json* choices = member(json, "choices");
  if (!choices) {
    if (member(json, "usage")) return {};
    return fail(malformed("it has no 'choices'", "choices"));
  }
  if (!choices->is_array()) return fail(malformed("'choices' is not an array", "choices"));
  if (choices->empty()) return {};  // the chunk that carries the usage
  return choice(choices->front(), events);
}

Result<GenerationEvent> AnswerReader::last() {
  if (!finish_) return fail(Error::network("the endpoint's answer was cut off before its end; ask again"));
  GenerationEvent event;
  std::vector<Call> calls;
  for (auto& [index, there] : calls_) std::move(there.begin(), there.end(), std::back_inserter(calls));
  calls_.clear();
  for (auto& call : calls) {
    if (call.name.empty()) return fail(malformed("a tool call has no name", "tool_calls"));
    Json arguments = Json::object();
    if (call.arguments.find_first_not_of(" \t\r\n") != std::string::npos) {
      auto parsed = parse_json(call.arguments);
      if (!parsed) return fail(malformed("the arguments of the call to '" + call.name + "' are not JSON", "arguments").caused_by(parsed.error()));
      if (!parsed->is_object()) return fail(malformed("the arguments of the call to '" + call.name + "' are not an object", "arguments"));
      arguments = std::move(*parsed);
    }
    event.tool_calls.push_back({std::move(call.id), std::move(call.name), std::move(arguments)});
  }
  // Some endpoints finish with "stop" although they call tools.
  event.finish_reason = !event.tool_calls.empty() && *finish_ == FinishReason::stop ? FinishReason::tool_calls : *finish_;
  event.usage = usage_;
  return event;
}

}  // namespace corvid::llm
