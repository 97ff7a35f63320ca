// Chunkers: a Document to chunks that fit a token budget.
//
//   CORVID_TRY(auto chunks, chunk_document(document, *embedder->tokenizer(), {.tokens = 254}));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/retrieval/document.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid {

/// Elements are always borders, so Markdown is cut by heading and records are never mixed. Inside one:
enum class ChunkMethod : std::uint8_t {
  recursive,  ///< at the strongest separator of the budget's second half: paragraph, line, sentence, word
  sentence,   ///< at the last end of a sentence that fits; a paragraph's end is one
};

struct ChunkOptions {
  std::uint32_t tokens = 512;   ///< budget of embedded_text, specials not counted; at least 8
  float overlap = 0.15f;        ///< of the budget, repeated from the chunk before inside one element; [0, 0.5]
  ChunkMethod method = ChunkMethod::recursive;
};

/// Each chunk's text is its element's bytes verbatim, white space trimmed at both ends, never cut inside a code point; embedded_text is the
/// heading path, a blank line and the text as valid UTF-8, and has at most `tokens` tokens. Tokenizes the text twice: linear in its length.
/// Extracted blocks (HTML) of one heading are packed together. Errors: invalid_argument, those of Tokenizer::encode_spans.
Result<std::vector<Chunk>> chunk_document(const Document& document, const Tokenizer& tokenizer, const ChunkOptions& options = {});

/// What the embedder and the postings see: "Guide > Setup\n\ntext".
std::string with_headings(const std::vector<std::string>& heading, const std::string& text);

}  // namespace corvid
