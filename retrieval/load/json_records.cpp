// JSON and JSONL: a record an element, verbatim, with its own scalar fields as metadata. In JSON the records are the items of a top-level
// array; any other value is one record.
#include <string>
#include <string_view>
#include <utility>

#include "retrieval/load/source_file.hpp"

namespace corvid::retrieval {
namespace {

// A field to filter by is short; a record's long text is found by searching.
constexpr std::size_t kMaxFieldBytes = 4096;

constexpr std::string_view kSpace = " \t\r\n";

Json scalar_fields(const Json& record) {
  Json out = Json::object();
  if (!record.is_object()) return out;
  for (const auto& [key, value] : record.items()) {
    if (value.is_number() || value.is_boolean()) out[key] = value;
    else if (value.is_string() && value.get_ref<const std::string&>().size() <= kMaxFieldBytes) out[key] = value;
  }
  return out;
}

// The end of the value that begins at `at`, in text known to be JSON.
std::size_t value_end(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at)
        if (text[at] == '\\') ++at;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      if (depth == 0) return at;
      --depth;
    } else if (c == ',' && depth == 0) {
      return at;
    }
  }
  return at;
}

ByteRange trimmed(std::string_view text, std::size_t begin, std::size_t end) {
  while (begin < end && kSpace.find(text[begin]) != std::string_view::npos) ++begin;
  while (end > begin && kSpace.find(text[end - 1]) != std::string_view::npos) --end;
  return {begin, end};
}

void set_title(Document& out, const Json& value) {
  if (!value.is_object()) return;
  if (const auto it = value.find("title"); it != value.end() && it->is_string()) out.title = collapse_space(it->get_ref<const std::string&>());
}

}  // namespace

Status load_json(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  std::string_view text = file.bytes;
  std::size_t at = text.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
  if (text.find_first_not_of(kSpace, at) == std::string_view::npos) return {};
  JsonLimits json_limits;
  json_limits.max_bytes = static_cast<std::size_t>(limits.max_file_bytes);
  CORVID_TRY(const Json value, parse_json(text.substr(at), json_limits));
  if (!value.is_array()) {
    Element element = file.element(trimmed(text, at, text.size()));
    element.metadata = scalar_fields(value);
    set_title(out, value);
    out.elements.push_back(std::move(element));
    return {};
  }
  if (value.size() > limits.max_elements) return fail(too_many_elements(limits));
  at = text.find('[', at) + 1;
  for (const Json& item : value) {
    if (out.elements.size() % 1024 == 0) CORVID_TRY_STATUS(cancellation.check());
    const std::size_t end = value_end(text, at);
    Element element = file.element(trimmed(text, at, end));
    element.metadata = scalar_fields(item);
    out.elements.push_back(std::move(element));
    at = end + 1;
  }
  return {};
}

Status load_jsonl(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  const std::string_view text = file.bytes;
  std::size_t at = text.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
  while (at < text.size()) {
    if (out.elements.size() % 1024 == 0) CORVID_TRY_STATUS(cancellation.check());
    std::size_t end = text.find('\n', at);
    if (end == std::string_view::npos) end = text.size();
    const ByteRange range = trimmed(text, at, end);
    at = end + 1;
    if (range.begin == range.end) continue;
    if (out.elements.size() >= limits.max_elements) return fail(too_many_elements(limits));
    Element element = file.element(range);
    auto record = parse_json(element.text);
    if (!record) {
      const std::uint64_t inside = record.error().offset().value_or(0);
      return fail(Error(record.error().code(), "line " + std::to_string(element.lines.first) + " is not JSON: " + record.error().message())
                      .at_offset(range.begin + inside));
    }
    element.metadata = scalar_fields(*record);
    out.elements.push_back(std::move(element));
  }
  return {};
}

}  // namespace corvid::retrieval
