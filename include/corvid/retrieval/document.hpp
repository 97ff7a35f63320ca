// Document, Element, Chunk: what loaders make and chunkers cut.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "corvid/base/json.hpp"

namespace corvid {

struct ByteRange { std::uint64_t begin = 0, end = 0; };   ///< from 0, end excluded, into the file as it lies
struct LineRange { std::uint64_t first = 1, last = 1; };  ///< from 1, both included

/// A stretch of a document with one place and one heading path. Elements are in reading order and do not overlap.
struct Element {
  std::string text;                        ///< verbatim bytes of the source, or the extraction's text (HTML, PDF)
  ByteRange bytes;                         ///< of the source; for extracted formats, of the element's markup or page
  LineRange lines;
  std::optional<std::uint32_t> page;       ///< PDF, from 1
  std::vector<std::string> heading;        ///< outermost first
  bool verbatim = true;                    ///< text == source bytes [bytes.begin, bytes.end)
  Json metadata = Json::object();          ///< a record's own fields (CSV, JSON, JSONL)
};

struct Document {
  std::string source;                      ///< absolute path
  std::string title;
  std::string type;                        ///< "text", "markdown", "html", "csv", "json", "jsonl", "code", "pdf"
  std::int64_t mtime = 0;                  ///< seconds since 1970
  std::string content_hash;                ///< SHA-256 of the file, hex
  std::vector<Element> elements;
  Json metadata = Json::object();          ///< ingest --meta
};

struct Chunk {
  std::string text;                        ///< as Element::text: the source's bytes verbatim
  std::string embedded_text;               ///< heading path and text, what the embedder and the postings see
  ByteRange bytes;
  LineRange lines;
  std::optional<std::uint32_t> page;
  std::vector<std::string> heading;
  std::uint32_t tokens = 0;                ///< of embedded_text, by the embedder's tokenizer
  Json metadata = Json::object();
};

}  // namespace corvid
