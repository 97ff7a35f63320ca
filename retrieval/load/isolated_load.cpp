#include "retrieval/load/isolated_load.hpp"

#include <string>
#include <utility>

#include "retrieval/load/child_process.hpp"

namespace corvid::retrieval {
namespace {

constexpr std::chrono::seconds kTimeout{60};
// Beside the text: an element's place and headings.
constexpr std::uint64_t kPlaceBytes = 4096;

std::string encode(const Status& status, const Document& document) {
  Json all = Json::array();
  if (!status) {
    all = {static_cast<int>(status.error().code()), status.error().message()};
  } else {
    all.push_back(document.title);
    for (const Element& e : document.elements) all.push_back({e.text, e.bytes.begin, e.bytes.end, e.lines.first, e.lines.last, e.heading});
  }
  std::string bytes;
  Json::to_cbor(all, bytes);
  return bytes;
}

// False where it is nothing that encode wrote.
bool decode_element(const Json& from, Element& to) {
  if (!from.is_array() || from.size() != 6 || !from[0].is_string() || !from[5].is_array()) return false;
  for (int i = 1; i < 5; ++i) if (!from[static_cast<std::size_t>(i)].is_number_unsigned()) return false;
  to.text = from[0].get<std::string>();
  to.bytes = {from[1].get<std::uint64_t>(), from[2].get<std::uint64_t>()};
  to.lines = {from[3].get<std::uint64_t>(), from[4].get<std::uint64_t>()};
  for (const Json& heading : from[5]) {
    if (!heading.is_string()) return false;
    to.heading.push_back(heading.get<std::string>());
  }
  to.verbatim = false;
  return true;
}

Status decode(const std::string& bytes, std::uint64_t file_bytes, Document& out) {
  const auto broken = [] { return fail(Error::bad_input("its parser gave no answer that can be read")); };
  const Json all = Json::from_cbor(bytes, true, false);
  if (!all.is_array() || all.empty()) return broken();
  if (all[0].is_number_unsigned() && all.size() == 2 && all[1].is_string()) {
    return fail(Error(static_cast<ErrorCode>(all[0].get<int>()), all[1].get<std::string>()));
  }
  if (!all[0].is_string()) return broken();
  out.title = all[0].get<std::string>();
  for (std::size_t i = 1; i < all.size(); ++i) {
    Element element;
    if (!decode_element(all[i], element) || element.bytes.begin > element.bytes.end || element.bytes.end > file_bytes) return broken();
    out.elements.push_back(std::move(element));
  }
  return {};
}

}  // namespace

Status load_isolated(LoadFunction load, const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  ProcessLimits process;
  process.timeout = kTimeout;
  process.max_output_bytes = limits.max_extracted_bytes + limits.max_elements * kPlaceBytes;
  const auto body = [&] {
    Document document;
    const auto status = load(file, limits, CancellationToken{}, document);   // its caller's may hold a lock of another thread's
    return encode(status, document);
  };
  CORVID_TRY(const auto result, call_limited("the parser", body, process, cancellation));
  if (result.exit_code != 0) {
    const std::string said = collapse_space(result.errors.substr(0, 300));
    return fail(Error::bad_input("its parser broke off (exit " + std::to_string(result.exit_code) + (said.empty() ? "" : ": " + said) + "); the file is damaged, or made to do that"));
  }
  return decode(result.output, file.bytes.size(), out);
}

}  // namespace corvid::retrieval
