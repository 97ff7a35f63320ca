// TextEmbedder: texts to unit vectors, with the model's own tokenizer, pooling and normalisation.
//
//   CORVID_TRY(auto embedder, TextEmbedder::load(runtime, "all-MiniLM-L6-v2"));
//   CORVID_TRY(auto vectors, embedder->embed(texts));       // [texts, dimension] f32
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/progress.hpp"
#include "corvid/compute/op_context.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid {

struct EmbedderOptions {
  Device device{};
  Precision precision = Precision::fast;
  std::uint32_t max_batch_tokens = 0;     ///< most rows of one packed forward pass; 0 = 4,096 on the CPU (256 where that keeps every thread busy), 16,384 on a device
  bool unit_vectors = true;               ///< scores are cosines then; false: of length 1 only where the model has a Normalize module
  ProgressSink progress;
};

struct EmbedResult {
  std::vector<float> values;              ///< [texts, dimension] f32, row-major
  std::vector<std::uint32_t> tokens;      ///< per text, after cutting, specials included
  std::vector<bool> cut;                  ///< per text: longer than max_tokens()
};

/// Thread-safe. Blocking calls: run them off the I/O thread (runtime/offload.hpp).
class TextEmbedder {
 public:
  virtual ~TextEmbedder() = default;
  /// A hub folder of a BERT-family encoder. Errors: as ModelFile::open, unsupported (architecture, pooling), bad_input.
  static Result<std::shared_ptr<TextEmbedder>> load(Runtime& runtime, const std::filesystem::path& folder, EmbedderOptions options = {});

  /// Batches are packed without padding and sorted by length; a text's vector does not depend on its batch.
  /// An empty text is a text. Errors: bad_input (text index and byte offset of invalid UTF-8), cancelled, out_of_memory.
  virtual Result<EmbedResult> embed(std::span<const std::string_view> texts, const CancellationToken& cancellation = {},
                                    const ProgressSink& progress = {}) = 0;

  virtual std::uint32_t dimension() const noexcept = 0;
  virtual std::uint32_t max_tokens() const noexcept = 0;           ///< specials included
  virtual const std::shared_ptr<const Tokenizer>& tokenizer() const noexcept = 0;
  virtual const std::string& identity() const noexcept = 0;        ///< hash of weights, tokenizer and pooling configuration
  virtual const std::filesystem::path& folder() const noexcept = 0;
};

}  // namespace corvid
