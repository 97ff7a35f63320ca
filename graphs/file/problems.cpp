#include <algorithm>
#include <tuple>

#include "graphs/define/duration.hpp"
#include "graphs/file/definition.hpp"
#include "graphs/file/suggest.hpp"

namespace corvid::detail {

void Problems::add(const SourceFile& source, const FileNode* at, std::string message) {
  if (all_.size() >= kMost) return;
  const auto place = source.place(at ? at->offset : 0);
  all_.push_back({source.name(), place.line, place.column, std::move(message)});
}

void Problems::add_in(const SourceFile& source, const FileNode* at, std::size_t text_offset, std::string message) {
  if (!at || all_.size() >= kMost) return add(source, at, std::move(message));
  const auto place = source.place_in(*at, text_offset);
  all_.push_back({source.name(), place.line, place.column, std::move(message)});
}

void Problems::add(const SourceFile& source, const FileNode& at, const Error& error) {
  const FileNode& where = at.at_pointer(error.key());
  if (error.offset()) return add_in(source, &where, static_cast<std::size_t>(*error.offset()), error.message());
  const auto slash = error.key().rfind('/');
  const bool named = slash != std::string::npos && (error.message().starts_with("is ") || error.message().starts_with("must "));
  add(source, &where, (named ? error.key().substr(slash + 1) + " " : std::string()) + error.message());
}

std::vector<FileProblem> Problems::take() {
  const auto key = [](const FileProblem& p) { return std::tie(p.file, p.line, p.column, p.message); };
  std::stable_sort(all_.begin(), all_.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  all_.erase(std::unique(all_.begin(), all_.end(), [&](const auto& a, const auto& b) { return key(a) == key(b); }), all_.end());
  return std::move(all_);
}

bool ObjectReader::open(const FileNode& node, FormatObject object) {
  const FormatTable& table = format_table(object);
  values_.clear();
  if (node.kind != FileNode::map) {
    problems_.add(source_, &node, std::string(table.what) + " must be an object");
    return false;
  }
  for (const auto& [key, value] : node.members) {
    const FormatKey* known = format_key(object, key.text);
    if (!known) {
      problems_.add(
          source_, &key,
          "unknown key \"" + key.text.substr(0, 60) + "\" of " + std::string(table.what) + suggestion(key.text, format_key_names(object)));
      continue;
    }
    if (const JsonSchema* schema = format_value_schema(object, known->name)) {
      if (const auto status = schema->check(value.to_json()); !status) {
        const FileNode& where = value.at_pointer(status.error().key());
        std::string hint;
        if (where.plain && (where.text == "yes" || where.text == "no" || where.text == "on" || where.text == "off"))
          hint = "; write true or false";
        if (where.kind == FileNode::scalar && where.value.is_string()) {
          if (const Json& allowed = schema->json(); allowed.contains("enum")) {
            const auto near = nearest(where.text, allowed["enum"].get<std::vector<std::string>>());
            if (!near.empty()) hint = "; did you mean \"" + near + "\"?";
          }
        }
        problems_.add(source_, &where, key.text + " " + status.error().message() + hint);
        continue;
      }
    }
    values_.emplace_back(known->name, &value);
  }
  for (const auto& key : table.keys) {
    if (key.required && !node.find(key.name)) problems_.add(source_, &node, std::string(table.what) + " needs " + std::string(key.name));
  }
  return true;
}

const FileNode* ObjectReader::get(std::string_view key) const noexcept {
  for (const auto& [name, value] : values_)
    if (name == key) return value;
  return nullptr;
}
std::string ObjectReader::text(std::string_view key) const {
  const FileNode* at = get(key);
  return at ? at->text : std::string();
}
bool ObjectReader::flag(std::string_view key) const {
  const FileNode* at = get(key);
  return at && at->value == Json(true);
}
std::vector<NamedPlace> ObjectReader::names(std::string_view key) const {
  std::vector<NamedPlace> out;
  const FileNode* at = get(key);
  if (!at) return out;
  if (at->kind == FileNode::scalar) out.push_back({at->text, at, 0});
  for (const auto& item : at->items) out.push_back({item.text, &item, 0});
  return out;
}
std::optional<std::chrono::milliseconds> ObjectReader::duration(std::string_view key) {
  const FileNode* at = get(key);
  if (!at) return std::nullopt;
  auto read = read_duration(at->value);
  if (read) return *read;
  problems_.add(source_, at, std::string(key) + ": " + read.error().message());
  return std::nullopt;
}

std::string checked_name(std::string_view name) {
  if (name.empty()) return "a name cannot be empty";
  if (name.size() > 200) return "a name has at most 200 bytes";
  if (name.starts_with("__") || name == "START" || name == "END") return "the name \"" + std::string(name) + "\" is taken";
  for (const char c : name) {
    if (static_cast<unsigned char>(c) <= ' ' || std::string_view(",+>:|\"'`[]{}*/").find(c) != std::string_view::npos)
      return "a name holds no blanks and none of , + > : | \" ' ` [ ] { } * /";
  }
  return {};
}

const NodeDefinition* GraphDefinition::find_node(std::string_view wanted) const noexcept {
  for (const auto& node : nodes)
    if (node.name == wanted) return &node;
  return nullptr;
}

}  // namespace corvid::detail
