// SourceFile: a file's bytes with what every loader needs: limits, lines, cancellation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/result.hpp"
#include "corvid/retrieval/loader.hpp"

namespace corvid::retrieval {

class SourceFile {
 public:
  /// Errors: not_found, io, unsupported (not a regular file), limit_exceeded.
  static Result<SourceFile> read(const std::filesystem::path& path, const LoadLimits& limits);

  std::filesystem::path path;
  std::string bytes;
  std::int64_t mtime = 0;   ///< seconds since 1970

  /// From 1, of the byte at `offset`. O(log lines).
  std::uint64_t line_of(std::uint64_t offset) const;
  /// Lines of the bytes [begin, end); an empty range is the line of `begin`.
  LineRange lines(ByteRange range) const;
  /// A verbatim element.
  Element element(ByteRange range, std::vector<std::string> heading = {}) const;

 private:
  std::vector<std::uint64_t> newlines_;  // offsets of '\n'
};

/// Places in a text, for loaders that extract one.
std::vector<std::uint64_t> find_newlines(std::string_view text);

using LoadFunction = Status (*)(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);

Status load_text(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);
Status load_markdown(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);
Status load_html(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);
/// load_html in this process, which some markup ends.
Status parse_html(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);
Status load_csv(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);
Status load_json(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);
Status load_jsonl(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);
Status load_pdf(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);

Error too_many_elements(const LoadLimits& limits);
/// `text` without white space at its ends, runs of it as one space.
std::string collapse_space(std::string_view text);

}  // namespace corvid::retrieval
