// Messages to and from the OpenAI chat shape.
#include <algorithm>

#include "corvid/llm/message.hpp"
#include "llm/message/base64.hpp"

namespace corvid {

namespace {

Error wrong(const std::string& key, const std::string& what) {
  return Error::bad_input("a message's " + key + " " + what).at_key(key);
}

std::string audio_format(const std::string& mime) {
  if (mime == "audio/mpeg" || mime == "audio/mp3") return "mp3";
  if (mime == "audio/wav" || mime == "audio/x-wav" || mime == "audio/wave") return "wav";
  const auto slash = mime.find('/');
  return slash == std::string::npos ? mime : mime.substr(slash + 1);
}

Json result_json(const ToolResultPart& part) {
  Json out{{"tool_call_id", part.call_id}, {"content", part.content}};
  if (!part.name.empty()) out["name"] = part.name;
  if (part.is_error) out["is_error"] = true;
  return out;
}

Json call_json(const ToolCallPart& call) {
  // The OpenAI shape carries the arguments as text.
  return Json{{"id", call.id}, {"type", "function"},
              {"function", Json{{"name", call.name}, {"arguments", dump_json(call.arguments.is_null() ? Json::object() : call.arguments)}}}};
}

Result<std::string> string_of(const Json& object, const char* key, bool required) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) {
    if (required) return fail(wrong(key, "is missing"));
    return std::string();
  }
  if (!it->is_string()) return fail(wrong(key, "is not a string"));
  return it->get<std::string>();
}

Result<ImagePart> image_from(const Json& part) {
  const auto image = part.find("image_url");
  if (image == part.end()) return fail(wrong("image_url", "is missing"));
  std::string url;
  if (image->is_string()) {
    url = image->get<std::string>();
  } else if (image->is_object()) {
    CORVID_TRY(url, string_of(*image, "url", true));
  } else {
    return fail(wrong("image_url", "is neither an object nor a string"));
  }
  if (url.rfind("data:", 0) != 0) return ImagePart{{}, {}, std::move(url)};
  const auto comma = url.find(',');
  const auto marker = url.find(";base64");
  if (comma == std::string::npos || marker == std::string::npos || marker > comma) {
    return fail(wrong("image_url", "is a data URI without ;base64,"));
  }
  CORVID_TRY(auto data, llm::base64_decode(std::string_view(url).substr(comma + 1)));
  return ImagePart{url.substr(5, marker - 5), std::move(data), {}};
}

Result<AudioPart> audio_from(const Json& part) {
  const auto audio = part.find("input_audio");
  if (audio == part.end() || !audio->is_object()) return fail(wrong("input_audio", "is missing or not an object"));
  CORVID_TRY(auto text, string_of(*audio, "data", true));
  CORVID_TRY(auto format, string_of(*audio, "format", true));
  CORVID_TRY(auto data, llm::base64_decode(text));
  return AudioPart{"audio/" + (format == "mp3" ? std::string("mpeg") : format), std::move(data)};
}

Result<ToolResultPart> result_from(const Json& json, std::string content) {
  CORVID_TRY(auto id, string_of(json, "tool_call_id", false));
  CORVID_TRY(auto name, string_of(json, "name", false));
  const auto error = json.find("is_error");
  return ToolResultPart{std::move(id), std::move(name), std::move(content), error != json.end() && error->is_boolean() && error->get<bool>()};
}

Result<ToolCallPart> call_from(const Json& json) {
  if (!json.is_object()) return fail(wrong("tool_calls", "holds something other than an object"));
  const auto function = json.find("function");
  if (function == json.end() || !function->is_object()) return fail(wrong("function", "is missing in a tool call"));
  ToolCallPart call;
  CORVID_TRY(call.id, string_of(json, "id", false));
  CORVID_TRY(call.name, string_of(*function, "name", true));
  call.arguments = Json::object();
  const auto arguments = function->find("arguments");
  if (arguments == function->end() || arguments->is_null()) return call;
  if (arguments->is_string()) {
    const auto& text = arguments->get_ref<const std::string&>();
    if (!text.empty()) {
      auto parsed = parse_json(text);
      if (!parsed) return fail(wrong("arguments", "of the call to '" + call.name + "' are not JSON").caused_by(parsed.error()));
      call.arguments = std::move(*parsed);
    }
  } else {
    call.arguments = *arguments;
  }
  if (!call.arguments.is_object()) return fail(wrong("arguments", "of the call to '" + call.name + "' are not a JSON object"));
  return call;
}

Result<MessagePart> part_from(const Json& json) {
  if (json.is_string()) return MessagePart(TextPart{json.get<std::string>()});
  if (!json.is_object()) return fail(wrong("content", "holds a part that is neither object nor string"));
  CORVID_TRY(auto type, string_of(json, "type", true));
  if (type == "text") {
    CORVID_TRY(auto text, string_of(json, "text", true));
    return MessagePart(TextPart{std::move(text)});
  }
  if (type == "image_url") {
    CORVID_TRY(auto image, image_from(json));
    return MessagePart(std::move(image));
  }
  if (type == "input_audio") {
    CORVID_TRY(auto audio, audio_from(json));
    return MessagePart(std::move(audio));
  }
  if (type == "tool_result") {
    CORVID_TRY(auto content, string_of(json, "content", true));
    CORVID_TRY(auto result, result_from(json, std::move(content)));
    return MessagePart(std::move(result));
  }
  return fail(Error::unsupported("a message part of type '" + type + "' is not supported").at_key("type"));
}

}  // namespace

Json to_json(const Message& message) {
  Json content = Json::array(), calls = Json::array();
  std::vector<const ToolResultPart*> results;
  bool plain = true;
  for (const auto& part : message.parts) {
    if (const auto* text = std::get_if<TextPart>(&part)) {
      content.push_back(Json{{"type", "text"}, {"text", text->text}});
    } else if (const auto* image = std::get_if<ImagePart>(&part)) {
      plain = false;
      const std::string url = image->data.empty() ? image->url : "data:" + image->mime_type + ";base64," + llm::base64_encode(image->data);
      content.push_back(Json{{"type", "image_url"}, {"image_url", Json{{"url", url}}}});
    } else if (const auto* audio = std::get_if<AudioPart>(&part)) {
      plain = false;
      content.push_back(Json{{"type", "input_audio"},
                             {"input_audio", Json{{"data", llm::base64_encode(audio->data)}, {"format", audio_format(audio->mime_type)}}}});
    } else if (const auto* call = std::get_if<ToolCallPart>(&part)) {
      calls.push_back(call_json(*call));
    } else if (const auto* result = std::get_if<ToolResultPart>(&part)) {
      results.push_back(result);
    }
  }
  if (results.size() == 1 && content.empty() && calls.empty()) {
    Json out = result_json(*results[0]);
    out["role"] = to_string(message.role);
    return out;
  }
  for (const auto* result : results) {
    plain = false;
    Json part = result_json(*result);
    part["type"] = "tool_result";
    content.push_back(std::move(part));
  }
  Json out{{"role", to_string(message.role)}};
  if (!plain) out["content"] = std::move(content);
  else if (content.empty() && !calls.empty()) out["content"] = nullptr;
  else out["content"] = message.text();
  if (!calls.empty()) out["tool_calls"] = std::move(calls);
  return out;
}

Json to_json(std::span<const Message> messages) {
  Json out = Json::array();
  for (const auto& message : messages) {
    const auto is_result = [](const MessagePart& part) { return std::holds_alternative<ToolResultPart>(part); };
    Message rest{message.role, {}};
    for (const auto& part : message.parts) {
      if (!is_result(part)) rest.parts.push_back(part);
    }
    if (!rest.parts.empty() || message.parts.empty()) out.push_back(to_json(rest));
    for (const auto& part : message.parts) {
      if (!is_result(part)) continue;
      Json result = result_json(std::get<ToolResultPart>(part));
      result.erase("is_error");
      result["role"] = "tool";
      out.push_back(std::move(result));
    }
  }
  return out;
}

Result<Message> message_from_json(const Json& json) {
  if (!json.is_object()) return fail(Error::bad_input("a message is not a JSON object"));
  CORVID_TRY(auto role, string_of(json, "role", true));
  Message message;
  CORVID_TRY(message.role, role_from_string(role));
  const auto content = json.find("content");
  if (content != json.end() && !content->is_null()) {
    if (content->is_string()) {
      if (message.role == Role::tool) {
        CORVID_TRY(auto result, result_from(json, content->get<std::string>()));
        message.parts.emplace_back(std::move(result));
      } else if (!content->get_ref<const std::string&>().empty() || !json.contains("tool_calls")) {
        message.parts.emplace_back(TextPart{content->get<std::string>()});
      }
    } else if (content->is_array()) {
      for (const auto& item : *content) {
        CORVID_TRY(auto part, part_from(item));
        message.parts.push_back(std::move(part));
      }
      const bool texts = std::all_of(message.parts.begin(), message.parts.end(),
                                     [](const MessagePart& part) { return std::holds_alternative<TextPart>(part); });
      if (message.role == Role::tool && texts) {
        CORVID_TRY(auto result, result_from(json, message.text()));
        message.parts.clear();
        message.parts.emplace_back(std::move(result));
      }
    } else {
      return fail(wrong("content", "is neither a string nor an array of parts"));
    }
  }
  const auto calls = json.find("tool_calls");
  if (calls != json.end() && !calls->is_null()) {
    if (!calls->is_array()) return fail(wrong("tool_calls", "are not an array"));
    for (const auto& item : *calls) {
      CORVID_TRY(auto call, call_from(item));
      message.parts.emplace_back(std::move(call));
    }
  }
  return message;
}

Json to_json(const ToolSpec& tool) {
  return Json{{"type", "function"},
              {"function", Json{{"name", tool.name}, {"description", tool.description}, {"parameters", tool.parameters}}}};
}

}  // namespace corvid
