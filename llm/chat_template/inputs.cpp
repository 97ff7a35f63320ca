// Messages and tools in the shape that templates expect.
#include "corvid/llm/chat_template.hpp"

namespace corvid {

OrderedJson template_messages(std::span<const Message> messages) {
  OrderedJson out = OrderedJson::array();
  for (const Json& flat : to_json(messages)) {
    // Role and content first: templates that print a whole message show keys in this order.
    OrderedJson message{{"role", flat.at("role")}};
    const auto content = flat.find("content");
    message["content"] = content == flat.end() || content->is_null() ? OrderedJson("") : OrderedJson(*content);
    for (const char* key : {"name", "tool_call_id"}) {
      if (const auto it = flat.find(key); it != flat.end()) message[key] = *it;
    }
    if (const auto calls = flat.find("tool_calls"); calls != flat.end()) message["tool_calls"] = OrderedJson::array();
    out.push_back(std::move(message));
  }
  // The calls are taken from the parts again, for their arguments as objects.
  std::size_t at = 0;
  for (const Message& message : messages) {
    std::size_t results = 0;
    OrderedJson calls = OrderedJson::array();
    for (const auto& part : message.parts) {
      if (std::holds_alternative<ToolResultPart>(part)) ++results;
      const auto* call = std::get_if<ToolCallPart>(&part);
      if (!call) continue;
      OrderedJson function{{"name", call->name}, {"arguments", call->arguments.is_null() ? Json::object() : call->arguments}};
      OrderedJson item{{"id", call->id}, {"type", "function"}};
      item["function"] = std::move(function);
      calls.push_back(std::move(item));
    }
    if (!calls.empty()) out[at]["tool_calls"] = std::move(calls);
    const bool has_rest = message.parts.size() > results || message.parts.empty();
    at += results + (has_rest ? 1 : 0);
  }
  return out;
}

OrderedJson template_tools(std::span<const ToolSpec> tools) {
  if (tools.empty()) return nullptr;
  OrderedJson out = OrderedJson::array();
  for (const auto& tool : tools) {
    OrderedJson function{{"name", tool.name}, {"description", tool.description}, {"parameters", tool.parameters}};
    OrderedJson item{{"type", "function"}};
    item["function"] = std::move(function);
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace corvid
