// BertModel: the encoder's forward pass over a packed batch, in terms of ops. Devlin et al. 2018.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/progress.hpp"
#include "corvid/compute/buffer.hpp"
#include "corvid/compute/op_context.hpp"
#include "corvid/compute/ops/activation.hpp"
#include "corvid/compute/weight.hpp"
#include "corvid/runtime/memory_budget.hpp"
#include "corvid/tensor/model_file.hpp"

namespace corvid::embed {

struct BertShape {
  std::int64_t vocab = 0, width = 0, inner = 0, layers = 0, heads = 0, positions = 0, types = 0;
  float norm_eps = 1e-12f;
  ops::Activation activation = ops::Activation::gelu_erf;
};

/// From config.json. Errors: bad_input (file, key), unsupported (architecture, activation, position embeddings).
Result<BertShape> read_bert_shape(const ModelFile& file);

/// A batch without padding: text s owns rows [offsets[s], offsets[s + 1]).
struct PackedBatch {
  std::vector<std::int32_t> ids, positions, types;  ///< [rows]
  std::vector<std::int32_t> offsets;                ///< [texts + 1]
};

/// Weights and shape; immutable, any thread.
class BertModel {
 public:
  static Result<BertModel> load(const OpContext& ctx, std::shared_ptr<const ModelFile> file, MemoryBudget& budget, const ProgressSink& progress);
  const BertShape& shape() const noexcept { return shape_; }
  /// Bytes of scratch that forward() takes for this many rows.
  std::uint64_t scratch_bytes(std::size_t rows) const noexcept;
  struct States {
    TensorView x;              ///< [rows, width] f32, the last layer's, in the scratch
    ConstTensorView offsets;   ///< the batch's, on the device
    TensorView spare;          ///< [texts, width] f32, free for the caller
  };
  /// Everything lies in `scratch`, of scratch_bytes(rows) at least, on ctx.device. Errors: cancelled between layers, those of the ops.
  Result<States> forward(const OpContext& ctx, const PackedBatch& batch, const Buffer& scratch, const CancellationToken& cancellation) const;

 private:
  struct Norm { Weight gain, bias; };
  struct Dense { Weight matrix, bias; };
  struct Layer { Dense query, key, value, attention_out, up, down; Norm attention_norm, out_norm; };
  BertShape shape_;
  Weight words_, positions_, types_;
  Norm embedding_norm_;
  std::vector<Layer> layers_;
};

}  // namespace corvid::embed
