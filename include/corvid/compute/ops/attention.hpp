// Attention over paged KV (language models) and over packed rows (encoders).
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

/// The pages of one layer. k, v [pages, kv_heads, page_tokens, head_dim], f32 or f16. On the CPU a page's keys may lie transposed,
/// k [pages, kv_heads, head_dim, page_tokens]: where page_tokens is a multiple of 16, attention then reads them where they are.
struct PagedKv {
  TensorView k;
  TensorView v;
  bool k_transposed = false;
};

/// Who is where in a ragged batch of sequences. All on the op's device.
struct RaggedRows {
  ConstTensorView row_offsets;  ///< [sequences + 1] i32: sequence s owns rows [row_offsets[s], row_offsets[s+1])
  ConstTensorView positions;    ///< [rows] i32: position of each row in its sequence, consecutive within a sequence
  ConstTensorView page_table;   ///< [sequences, max_pages] i32: page that holds positions [i*page_tokens, (i+1)*page_tokens)
};

/// Writes k, v [rows, kv_heads, head_dim] f32 (row stride allowed) into the pages at each row's position; rounds to the pages' dtype.
/// The pages written must not be shared.
Status kv_append(const OpContext& ctx, const RaggedRows& rows, ConstTensorView k, ConstTensorView v, PagedKv kv);

struct AttentionParams {
  float scale = 1.0f;        ///< usually 1/sqrt(head_dim)
  int window = 0;            ///< sliding window: a row sees its last `window` positions including itself; 0 = all
  float logit_softcap = 0;   ///< 0 = none, else cap * tanh(s / cap)
};

/// Causal attention: each row reads positions ≤ its own (already appended). q [rows, heads, head_dim] f32 (row stride allowed),
/// y [rows, heads, head_dim] f32. heads is a multiple of kv_heads. Softmax in f32; a row's arithmetic depends only on its position.
Status paged_attention(const OpContext& ctx, const AttentionParams& params, const RaggedRows& rows, ConstTensorView q, PagedKv kv,
                       TensorView y);

/// Bidirectional attention within each sequence of a packed batch (no padding). q, k, v, y [rows, heads, head_dim] f32,
/// row stride allowed; row_offsets [sequences + 1] i32. `rounded` lets Precision::fast round q, k, v and the softmax's terms to bf16 on
/// the CPU, where it has the instruction; the softmax itself stays f32.
Status encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k,
                         ConstTensorView v, TensorView y, bool rounded = false);

}  // namespace corvid::ops
