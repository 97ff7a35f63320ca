// The optimised CPU members. Arguments are checked by the callers (<op>.cpp).
#pragma once

#include "corvid/compute/ops.hpp"
#include "ref/reference.hpp"

namespace corvid::cpu {

inline void linear(const OpContext&, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate) { ref::linear(x, w, bias, y, accumulate); }
inline void embedding(const OpContext&, ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) { ref::embedding(ids, table, scale, y, accumulate); }
inline void rms_norm(const OpContext&, ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset) { ref::rms_norm(x, gain, eps, y, gain_offset); }
inline void layer_norm(const OpContext&, ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y) { ref::layer_norm(x, gain, bias, eps, y); }
inline void gated_activation(const OpContext&, ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) { ref::gated_activation(act, gate, up, y); }
inline void activation(const OpContext&, ops::Activation act, ConstTensorView x, TensorView y) { ref::activation(act, x, y); }
inline void rope(const OpContext&, const ops::RopeParams& params, ConstTensorView positions, TensorView x) { ref::rope(params, positions, x); }
inline void pool_rows(const OpContext&, ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y) { ref::pool_rows(pooling, row_offsets, x, y); }
inline void kv_append(const OpContext&, const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv) { ref::kv_append(rows, k, v, kv); }
inline void paged_attention(const OpContext&, const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q, ops::PagedKv kv, TensorView y) { ref::paged_attention(params, rows, q, kv, y); }
inline void encoder_attention(const OpContext&, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k, ConstTensorView v, TensorView y) { ref::encoder_attention(scale, row_offsets, q, k, v, y); }
inline void scan_top_k(const OpContext&, ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids, TensorView scores) { ref::scan_top_k(queries, vectors, allowed, row_ids, scores); }

}  // namespace corvid::cpu
