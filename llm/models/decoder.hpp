// Decoder: the forward pass of the decoder-only families (llama, qwen2, qwen3, gemma3), in terms of ops. It knows no request.
#pragma once

#include <memory>
#include <vector>

#include "corvid/base/progress.hpp"
#include "corvid/compute/ops.hpp"
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

class Decoder {
 public:
  /// Errors: bad_input (a tensor is missing or its shape contradicts the configuration), unsupported, out_of_memory.
  static Result<std::unique_ptr<Decoder>> load(const OpContext& ctx, std::shared_ptr<const ModelFile> file, LlmConfig config,
                                               MemoryBudget& budget, const ProgressSink& progress);
  /// Appends the rows' keys and values to their pages; logits [logit_rows, vocab] f32.
  Status forward(const OpContext& ctx, const StepBatch& batch, const PagePool& pages, std::vector<float>& logits);
  const LlmConfig& config() const noexcept { return config_; }

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
  RopeTable rope_, local_rope_;
  std::vector<Layer> layers_;
  std::vector<float> x_, h_, q_, k_, v_, a_, o_, g_, u_;  // scratch, kept between steps
};

}  // namespace corvid::llm
