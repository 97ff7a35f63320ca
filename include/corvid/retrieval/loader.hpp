// Loaders: one file to a Document. One loader a format, all in one table (retrieval/load/loader_table.cpp).
//
//   CORVID_TRY(Document document, load_document("/docs/guide.md"));
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/result.hpp"
#include "corvid/retrieval/document.hpp"

namespace corvid {

/// What one file may cost. Passing a limit is limit_exceeded, never a cut document.
struct LoadLimits {
  std::uint64_t max_file_bytes = std::uint64_t{64} << 20;
  std::uint64_t max_extracted_bytes = std::uint64_t{64} << 20;  ///< text out of a PDF
  std::size_t max_elements = 1'000'000;                         ///< sections, records, blocks, pages
  std::chrono::seconds pdf_timeout{60};                         ///< of the separate process, wall clock and CPU
  std::uint64_t pdf_memory_bytes = std::uint64_t{2} << 30;      ///< of the separate process, address space
};

/// The type that a file's name says: "markdown", "html", "csv", …; "text" for names that say nothing.
std::string_view document_type(const std::filesystem::path& path);

/// Reads the file and cuts it into elements. Thread-safe.
/// Errors, all naming the file: not_found, io, limit_exceeded, bad_input (damaged or encrypted, with the byte offset where there is one),
/// unsupported (binary contents in a text format; pdftotext missing, with the package to install), cancelled.
Result<Document> load_document(const std::filesystem::path& path, const LoadLimits& limits = {}, const CancellationToken& cancellation = {});

}  // namespace corvid
