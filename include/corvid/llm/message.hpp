// Message: one turn of a conversation, as every chat model here takes and gives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "corvid/base/json.hpp"

namespace corvid {

enum class Role : std::uint8_t { system, user, assistant, tool };
std::string_view to_string(Role role) noexcept;
Result<Role> role_from_string(std::string_view name);

struct TextPart { std::string text; };
struct ImagePart { std::string mime_type; std::vector<std::byte> data; std::string url; };   ///< data, or url where data is empty
struct AudioPart { std::string mime_type; std::vector<std::byte> data; };
struct ToolCallPart { std::string id; std::string name; Json arguments; };                   ///< arguments: an object
struct ToolResultPart { std::string call_id; std::string name; std::string content; bool is_error = false; };
using MessagePart = std::variant<TextPart, ImagePart, AudioPart, ToolCallPart, ToolResultPart>;

struct Message {
  Role role = Role::user;
  std::vector<MessagePart> parts;

  static Message system(std::string text) { return {Role::system, {TextPart{std::move(text)}}}; }
  static Message user(std::string text) { return {Role::user, {TextPart{std::move(text)}}}; }
  static Message assistant(std::string text) { return {Role::assistant, {TextPart{std::move(text)}}}; }
  /// The text parts joined.
  std::string text() const;
};

/// JSON of the OpenAI chat shape ({"role","content",…}): text-only content is a string, tool calls carry their arguments as JSON
/// text, media go as data URIs or base64. Beyond that shape, so that history loses nothing: a failed tool result has "is_error",
/// and several tool results in one message are content parts of type "tool_result".
Json to_json(const Message& message);
/// The array that a remote endpoint takes: one message a tool result, nothing beyond the OpenAI shape.
Json to_json(std::span<const Message> messages);
/// Errors: bad_input with the key (missing or of a wrong type, base64, arguments that are no JSON object), unsupported (part type).
Result<Message> message_from_json(const Json& json);

struct ToolSpec {
  std::string name;
  std::string description;
  Json parameters = Json::object();  ///< JSON Schema of the arguments
};

/// The OpenAI tool object: {"type":"function","function":{…}}.
Json to_json(const ToolSpec& tool);

struct ResponseFormat {
  enum class Kind : std::uint8_t { text, json_object, json_schema } kind = Kind::text;
  std::string name;                  ///< for json_schema
  Json schema;                       ///< for json_schema
};

}  // namespace corvid
