// Decoder: the forward pass of the decoder-only families (llama, qwen2, qwen3, gemma3), in terms of ops. It knows no request.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "corvid/base/progress.hpp"
#include "corvid/compute/buffer.hpp"
#include "corvid/compute/ops.hpp"
#include "corvid/compute/stream.hpp"
#include "corvid/text/tokenizer.hpp"
#include "llm/config/llm_config.hpp"
#include "llm/kv/page_pool.hpp"

namespace corvid::llm {

/// A ragged batch of several sequences' rows: prompt chunks and decode tokens mixed.
struct StepBatch {
  std::vector<TokenId> ids;                ///< [rows]
  std::vector<std::int32_t> positions;     ///< [rows]
  std::vector<std::int32_t> row_offsets;   ///< [sequences + 1]
  std::vector<std::int32_t> page_table;    ///< [sequences, max_pages]
  std::int64_t max_pages = 0;
  std::vector<std::int32_t> logit_rows;    ///< rows whose logits are wanted
};

/// The largest step that a decoder plans its memory for.
struct StepLimits {
  std::int64_t rows = 0;                   ///< of one batch
  std::int64_t pages = 0;                  ///< of one sequence
  bool record = true;                      ///< on a device: decode steps of few rows become graphs
};

class Decoder {
 public:
  /// Rows of logits that are computed at once, however many are wanted: 64 × a vocabulary of 262,144 is 64 MiB.
  static constexpr std::int64_t kLogitRows = 64;

  /// Errors: bad_input (a tensor is missing or its shape contradicts the configuration), unsupported, out_of_memory.
  static Result<std::unique_ptr<Decoder>> load(const OpContext& ctx, std::shared_ptr<const ModelFile> file, LlmConfig config,
                                               const StepLimits& limits, MemoryBudget& budget, const ProgressSink& progress);
  /// Appends the rows' keys and values to their pages; logits [logit_rows, vocab] f32 on the host. Allocates nothing on the device; the
  /// host waits for the device once, for the logits (once each kLogitRows rows). Errors: limit_exceeded (limits), those of the ops.
  Status forward(const OpContext& ctx, const StepBatch& batch, const PagePool& pages, std::vector<float>& logits);
  const LlmConfig& config() const noexcept { return config_; }
  /// Stored bytes of the weights that every step reads: all but an embedding table that is not the output matrix too.
  std::uint64_t step_bytes() const noexcept;
  /// Steps that were queued as a recorded graph.
  std::uint64_t replayed_steps() const noexcept { return replayed_steps_; }

 private:
  struct Layer {
    Weight attn_norm;                     // [width]
    Weight wq, wk, wv;                    // [heads * head_dim, width], [kv_heads * head_dim, width]
    Weight bq, bk, bv, bo;                // qwen2, some llama
    Weight q_norm, k_norm;                // [head_dim]
    Weight wo;                            // [width, heads * head_dim]
    Weight post_attn_norm;                // [width], gemma3
    Weight ffn_norm;                      // [width]
    Weight gate, up;                      // [ffn, width]
    Weight down;                          // [width, ffn]
    Weight post_ffn_norm;                 // [width], gemma3
  };
  LlmConfig config_;
  Weight embedding_;                      // [vocab, width]
  Weight output_norm_;                    // [width]
  Weight output_;                         // [vocab, width]; the embedding where tied
  struct Rope { Weight inverse_frequencies; float magnitude = 1; };
  // A decode step of so many rows, recorded at its second use; a device's only.
  struct Recorded { bool seen = false; std::unique_ptr<StepGraph> graph; };

  Status stage(const OpContext& ctx, const StepBatch& batch);
  Status layers(const OpContext& ctx, std::int64_t rows, std::int64_t sequences, const PagePool& pages);
  /// Logits of the rows logit_rows[first, first + count) into y [count, vocab].
  Status head(const OpContext& ctx, std::int64_t rows, std::int64_t first, std::int64_t count, TensorView y);

  Rope rope_, local_rope_;
  std::vector<Layer> layers_;
  StepLimits limits_;
  // Planned at load. The batch on the device, i32: ids, positions, row offsets, logit rows, page table; the host's image of it.
  Buffer inputs_, scratch_, logits_, op_scratch_;
  std::vector<std::int32_t> staged_;
  std::map<std::int64_t, Recorded> recorded_;
  const PagePool* recorded_pages_ = nullptr;
  std::uint64_t replayed_steps_ = 0;
};

}  // namespace corvid::llm
