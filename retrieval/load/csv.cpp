// CSV (RFC 4180): the first record names the fields, every other record is an element, verbatim.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retrieval/chunk/utf8.hpp"
#include "retrieval/load/source_file.hpp"

namespace corvid::retrieval {
namespace {

struct Record {
  ByteRange bytes;                  // without the line's end
  std::vector<std::string> fields;
};

// Reads the record at `at` and moves past its line's end. Errors: bad_input at the quote that never closes.
Result<Record> read_record(std::string_view text, char separator, std::size_t& at) {
  Record out;
  out.bytes.begin = at;
  std::string field;
  while (true) {
    if (at < text.size() && text[at] == '"') {
      const std::size_t open = at++;
      while (true) {
        const std::size_t quote = text.find('"', at);
        if (quote == std::string_view::npos) return fail(Error::bad_input("a quoted field never ends; close it with \"").at_offset(open));
        field.append(text.substr(at, quote - at));
        at = quote + 1;
        if (at >= text.size() || text[at] != '"') break;
        field += '"';
        ++at;
      }
    }
    while (at < text.size() && text[at] != separator && text[at] != '\n' && text[at] != '\r') field += text[at++];
    out.fields.push_back(std::move(field));
    field.clear();
    if (at >= text.size() || text[at] != separator) break;
    ++at;
  }
  out.bytes.end = at;
  if (at < text.size() && text[at] == '\r') ++at;
  if (at < text.size() && text[at] == '\n') ++at;
  return out;
}

// The likeliest of , ; tab | in the header line.
char find_separator(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  char best = ',';
  std::size_t most = 0;
  for (const char candidate : {',', ';', '\t', '|'}) {
    std::size_t count = 0;
    bool quoted = false;
    for (const char c : line) {
      if (c == '"') quoted = !quoted;
      if (c == candidate && !quoted) ++count;
    }
    if (count > most) {
      most = count;
      best = candidate;
    }
  }
  return best;
}

}  // namespace

Status load_csv(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  const std::string_view text = file.bytes;
  std::size_t at = text.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
  if (at == text.size()) return {};
  const char separator = find_separator(text.substr(at));
  CORVID_TRY(Record header, read_record(text, separator, at));
  if (at >= text.size()) {  // a header alone is still worth finding
    out.elements.push_back(file.element(header.bytes));
    return {};
  }
  for (std::string& name : header.fields) name = valid_utf8(collapse_space(name));
  while (at < text.size()) {
    if (out.elements.size() % 1024 == 0) CORVID_TRY_STATUS(cancellation.check());
    CORVID_TRY(Record record, read_record(text, separator, at));
    if (record.bytes.begin == record.bytes.end) continue;  // an empty line
    if (out.elements.size() >= limits.max_elements) return fail(too_many_elements(limits));
    Element element = file.element(record.bytes);
    for (std::size_t i = 0; i < record.fields.size() && i < header.fields.size(); ++i)
      if (!header.fields[i].empty()) element.metadata[header.fields[i]] = valid_utf8(record.fields[i]);
    out.elements.push_back(std::move(element));
  }
  return {};
}

}  // namespace corvid::retrieval
