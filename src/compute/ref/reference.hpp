// The oracles: each op as plain f32 loops, readable before fast. Arguments are checked by the callers (<op>.cpp).
#pragma once

#include "corvid/compute/ops.hpp"

namespace corvid::ref {

/// One row of a matrix or lookup weight as f32; out [w.cols()].
void weight_row(const Weight& w, std::int64_t row, float* out);

void linear(ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate);
void embedding(ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate);
void rms_norm(ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset);
void layer_norm(ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y);
void add(ConstTensorView x, TensorView y);
void gated_activation(ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y);
void activation(ops::Activation act, ConstTensorView x, TensorView y);
void rope(const ops::RopeParams& params, ConstTensorView positions, TensorView x);
void pool_rows(ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y);
void l2_normalise(TensorView x);
void kv_append(const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv);
void paged_attention(const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q, ops::PagedKv kv, TensorView y);
void encoder_attention(float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k, ConstTensorView v, TensorView y);
void scan_top_k(ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids, TensorView scores);

}  // namespace corvid::ref
