// PDF through poppler's pdftotext, as a process of its own with limits: a page an element.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "retrieval/load/child_process.hpp"
#include "retrieval/load/source_file.hpp"

namespace corvid::retrieval {

Status load_pdf(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  // The header may lie anywhere in the first KiB (ISO 32000-1, annex H.3.4.1).
  if (std::string_view(file.bytes).substr(0, 1024 + 5).find("%PDF-") == std::string_view::npos)
    return fail(Error::bad_input("not a PDF: no %PDF- in its first KiB").at_offset(0));
  const auto program = find_program("pdftotext");
  if (!program) return fail(Error::unsupported("PDF files need pdftotext; install the package poppler-utils"));
  ProcessLimits process;
  process.timeout = limits.pdf_timeout;
  process.memory_bytes = limits.pdf_memory_bytes;
  process.max_output_bytes = limits.max_extracted_bytes;
  CORVID_TRY(ProcessOutput result, run_limited(*program, {"-enc", "UTF-8", "-eol", "unix", file.path.string(), "-"}, process, cancellation));
  const std::string said = collapse_space(std::string_view(result.errors).substr(0, 300));
  if (result.exit_code != 0) {
    if (result.errors.find("assword") != std::string::npos || result.exit_code == 3)
      return fail(Error::bad_input("the PDF is encrypted; save a copy without a password"));
    if (result.exit_code == 126 && result.errors.find("seccomp") != std::string::npos) return fail(Error::unsupported(said));
    if (result.exit_code == 127) return fail(Error::io("cannot run " + *program));
    return fail(Error::bad_input("pdftotext cannot read it (exit " + std::to_string(result.exit_code) + "): " + said));
  }
  std::uint32_t page = 0;
  std::size_t at = 0;
  while (at < result.output.size()) {
    std::size_t end = result.output.find('\f', at);
    if (end == std::string::npos) end = result.output.size();
    ++page;
    if (page > limits.max_elements) return fail(too_many_elements(limits));
    std::string text = result.output.substr(at, end - at);
    at = end + 1;
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) continue;
    Element element;
    element.bytes = {0, file.bytes.size()};
    const auto newlines = static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
    element.lines = {1, newlines + (text.back() == '\n' ? 0 : 1)};  // of the page's extraction
    element.text = std::move(text);
    element.page = page;
    element.verbatim = false;
    out.elements.push_back(std::move(element));
  }
  if (page == 0 && !said.empty()) return fail(Error::bad_input("pdftotext found no page: " + said));
  return {};
}

}  // namespace corvid::retrieval
