#include "llm/replay/generation_json.hpp"

#include <array>
#include <limits>

#include "corvid/base/hash.hpp"

namespace corvid::llm {

namespace {

Error wrong(const char* key, const std::string& what) { return Error::bad_input(std::string("'") + key + "' " + what).at_key(key); }

Json logprob_json(float logprob) {
  return logprob == -std::numeric_limits<float>::infinity() ? Json(nullptr) : Json(logprob);
}

Result<float> logprob_from(const Json& json, const char* key) {
  if (json.is_null()) return -std::numeric_limits<float>::infinity();
  if (!json.is_number()) return fail(wrong(key, "is neither a number nor null"));
  return json.get<float>();
}

Result<TokenId> token_from(const Json& json, const char* key) {
  if (!json.is_number_integer()) return fail(wrong(key, "is not a token id"));
  const auto id = json.get<std::int64_t>();
  if (id < -1 || id > std::numeric_limits<TokenId>::max()) return fail(wrong(key, "is not a token id"));
  return static_cast<TokenId>(id);
}

Json sampling_json(const SamplingParams& p) {
  Json bias = Json::object();
  for (const auto& [id, value] : p.logit_bias) bias[std::to_string(id)] = logprob_json(value);
  return Json{{"temperature", p.temperature}, {"top_k", p.top_k}, {"top_p", p.top_p}, {"min_p", p.min_p}, {"typical_p", p.typical_p},
              {"repetition_penalty", p.repetition_penalty}, {"presence_penalty", p.presence_penalty},
              {"frequency_penalty", p.frequency_penalty}, {"penalty_window", p.penalty_window}, {"logit_bias", std::move(bias)},
              {"seed", p.seed}, {"logprobs", p.logprobs}};
}

const char* name_of(ResponseFormat::Kind kind) {
  switch (kind) {
    case ResponseFormat::Kind::text: return "text";
    case ResponseFormat::Kind::json_object: return "json_object";
    case ResponseFormat::Kind::json_schema: return "json_schema";
  }
  return "unknown";
}

std::string hex_of(const std::vector<std::byte>& bytes) {
  return to_hex(sha256(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
}

Status count(const Json& json, const char* key, std::uint64_t& out) {
  const auto it = json.find(key);
  if (it == json.end()) return {};
  if (!it->is_number_unsigned()) return fail(wrong(key, "is not a count"));
  out = it->get<std::uint64_t>();
  return {};
}

Status milliseconds(const Json& json, const char* key, double& out) {
  const auto it = json.find(key);
  if (it == json.end()) return {};
  if (!it->is_number()) return fail(wrong(key, "is not a number"));
  out = it->get<double>();
  return {};
}

Status usage_from(const Json& json, Usage& usage) {
  if (!json.is_object()) return fail(wrong("usage", "is not an object"));
  CORVID_TRY_STATUS(count(json, "prompt_tokens", usage.prompt_tokens));
  CORVID_TRY_STATUS(count(json, "completion_tokens", usage.completion_tokens));
  return count(json, "cached_tokens", usage.cached_tokens);
}

Status timings_from(const Json& json, GenerationTimings& timings) {
  if (!json.is_object()) return fail(wrong("timings", "is not an object"));
  CORVID_TRY_STATUS(milliseconds(json, "load_ms", timings.load_ms));
  CORVID_TRY_STATUS(milliseconds(json, "prefill_ms", timings.prefill_ms));
  CORVID_TRY_STATUS(milliseconds(json, "first_token_ms", timings.first_token_ms));
  return milliseconds(json, "decode_ms", timings.decode_ms);
}

Status top_from(const Json& json, std::vector<TokenLogprob>& top) {
  if (!json.is_array()) return fail(wrong("top_logprobs", "is not an array"));
  for (const Json& pair : json) {
    if (!pair.is_array() || pair.size() != 2) return fail(wrong("top_logprobs", "has an item that is not [id, log probability]"));
    TokenLogprob item;
    CORVID_TRY(item.id, token_from(pair[0], "top_logprobs"));
    CORVID_TRY(item.logprob, logprob_from(pair[1], "top_logprobs"));
    top.push_back(item);
  }
  return {};
}

Status calls_from(const Json& json, std::vector<ToolCallPart>& calls) {
  if (!json.is_array()) return fail(wrong("tool_calls", "is not an array"));
  for (const Json& item : json) {
    if (!item.is_object() || !item.contains("id") || !item["id"].is_string() || !item.contains("name") || !item["name"].is_string() ||
        !item.contains("arguments") || !item["arguments"].is_object()) {
      return fail(wrong("tool_calls", "has an item that is not {id, name, arguments}"));
    }
    calls.push_back({item["id"].get<std::string>(), item["name"].get<std::string>(), item["arguments"]});
  }
  return {};
}

constexpr std::array kReasons = {FinishReason::stop, FinishReason::length, FinishReason::tool_calls, FinishReason::cancelled, FinishReason::deadline};

Result<FinishReason> reason_from(const Json& json) {
  if (json.is_string()) {
    for (const FinishReason reason : kReasons) {
      if (json.get_ref<const std::string&>() == to_string(reason)) return reason;
    }
  }
  return fail(wrong("finish_reason", "is not one of stop, length, tool_calls, cancelled, deadline"));
}

}  // namespace

Json request_json(const ChatRequest& request) {
  Json messages = Json::array(), tools = Json::array();
  for (const auto& message : request.messages) messages.push_back(to_json(message));
  for (const auto& tool : request.tools) tools.push_back(to_json(tool));
  Json format{{"type", name_of(request.response_format.kind)}};
  if (request.response_format.kind == ResponseFormat::Kind::json_schema) {
    format["name"] = request.response_format.name;
    format["schema"] = request.response_format.schema;
  }
  Json out{{"messages", std::move(messages)}, {"tools", std::move(tools)}, {"response_format", std::move(format)},
           {"sampling", sampling_json(request.sampling)}, {"max_tokens", request.max_tokens}, {"stop", request.stop}};
  if (request.constraint) out["constraint_sha256"] = hex_of(request.constraint->save());
  return out;
}

Json event_json(const GenerationEvent& event) {
  Json out = Json::object();
  if (event.token) out["token"] = *event.token;
  if (!event.text.empty()) out["text"] = event.text;
  if (event.logprob) out["logprob"] = logprob_json(*event.logprob);
  for (const auto& [id, logprob] : event.top_logprobs) out["top_logprobs"].push_back(Json::array({id, logprob_json(logprob)}));
  for (const auto& call : event.tool_calls) {
    out["tool_calls"].push_back(Json{{"id", call.id}, {"name", call.name}, {"arguments", call.arguments.is_null() ? Json::object() : call.arguments}});
  }
  if (!event.finish_reason) return out;
  out["finish_reason"] = std::string(to_string(*event.finish_reason));
  const Usage& usage = event.usage;
  out["usage"] = Json{{"prompt_tokens", usage.prompt_tokens}, {"completion_tokens", usage.completion_tokens}, {"cached_tokens", usage.cached_tokens}};
  const GenerationTimings& timings = event.timings;
  out["timings"] = Json{{"load_ms", timings.load_ms}, {"prefill_ms", timings.prefill_ms}, {"first_token_ms", timings.first_token_ms}, {"decode_ms", timings.decode_ms}};
  return out;
}

Result<GenerationEvent> event_from_json(const Json& json) {
  if (!json.is_object()) return fail(wrong("events", "has an item that is not an object"));
  GenerationEvent event;
  for (const auto& [key, value] : json.items()) {
    if (key == "token") {
      CORVID_TRY(event.token, token_from(value, "token"));
    } else if (key == "text") {
      if (!value.is_string()) return fail(wrong("text", "is not a string"));
      event.text = value.get<std::string>();
    } else if (key == "logprob") {
      CORVID_TRY(event.logprob, logprob_from(value, "logprob"));
    } else if (key == "top_logprobs") {
      CORVID_TRY_STATUS(top_from(value, event.top_logprobs));
    } else if (key == "tool_calls") {
      CORVID_TRY_STATUS(calls_from(value, event.tool_calls));
    } else if (key == "finish_reason") {
      CORVID_TRY(event.finish_reason, reason_from(value));
    } else if (key == "usage") {
      CORVID_TRY_STATUS(usage_from(value, event.usage));
    } else if (key == "timings") {
      CORVID_TRY_STATUS(timings_from(value, event.timings));
    } else {
      return fail(wrong("events", "has an item with the unknown key '" + key.substr(0, 80) + "'"));
    }
  }
  return event;
}

Json error_json(const Error& error) {
  Json out{{"code", std::string(to_string(error.code()))}, {"message", error.message()}};
  if (!error.file().empty()) out["file"] = error.file();
  if (!error.key().empty()) out["key"] = error.key();
  if (error.offset()) out["offset"] = *error.offset();
  return out;
}

Result<Error> error_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("code") || !json["code"].is_string() || !json.contains("message") || !json["message"].is_string()) {
    return fail(wrong("error", "is not {code, message}"));
  }
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    const auto kind = static_cast<ErrorCode>(code);
    if (json["code"].get_ref<const std::string&>() != to_string(kind)) continue;
    Error error(kind, json["message"].get<std::string>());
    if (const auto file = json.find("file"); file != json.end() && file->is_string()) error = std::move(error).at_file(file->get<std::string>());
    if (const auto key = json.find("key"); key != json.end() && key->is_string()) error = std::move(error).at_key(key->get<std::string>());
    if (const auto offset = json.find("offset"); offset != json.end() && offset->is_number_unsigned()) error = std::move(error).at_offset(offset->get<std::uint64_t>());
    return Result<Error>(tl::in_place, std::move(error));
  }
  return fail(wrong("error", "has an unknown code"));
}

}  // namespace corvid::llm
