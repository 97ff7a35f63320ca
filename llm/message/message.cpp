#include "corvid/llm/message.hpp"

namespace corvid {

std::string_view to_string(Role role) noexcept {
  switch (role) {
    case Role::system: return "system";
    case Role::user: return "user";
    case Role::assistant: return "assistant";
    case Role::tool: return "tool";
  }
  return "unknown";
}

Result<Role> role_from_string(std::string_view name) {
  if (name == "system" || name == "developer") return Role::system;
  if (name == "user") return Role::user;
  if (name == "assistant") return Role::assistant;
  if (name == "tool") return Role::tool;
  return fail(Error::bad_input("'" + std::string(name) + "' is no role; roles are system, user, assistant, tool").at_key("role"));
}

std::string Message::text() const {
  std::string out;
  for (const auto& part : parts) {
    if (const auto* text = std::get_if<TextPart>(&part)) out += text->text;
  }
  return out;
}

}  // namespace corvid
