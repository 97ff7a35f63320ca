// Message: one turn of a conversation, as every chat model here takes and gives it.
#pragma once

#include <cstddef>
#include <string>
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

/// JSON of the OpenAI chat shape ({"role","content",…}); text-only content is a string. Used for history and remote endpoints.
Json to_json(const Message& message);
Result<Message> message_from_json(const Json& json);

struct ToolSpec {
  std::string name;
  std::string description;
  Json parameters = Json::object();  ///< JSON Schema of the arguments
};

struct ResponseFormat {
  enum class Kind : std::uint8_t { text, json_object, json_schema } kind = Kind::text;
  std::string name;                  ///< for json_schema
  Json schema;                       ///< for json_schema
};

}  // namespace corvid
