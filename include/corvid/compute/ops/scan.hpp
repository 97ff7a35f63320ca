// scan_top_k: exact inner-product search with a bitmap of allowed rows.
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

/// The k best rows for each query by inner product. queries [n_queries, d] f32; vectors [rows, d] f32 or f16;
/// allowed: [ceil(rows/64)] u64 words as i64, bit r of word r/64 set = row r may be returned, or an empty view = all rows;
/// row_ids [n_queries, k] i64 and scores [n_queries, k] f32, best first, ties by lower row, padded with -1 and -inf.
/// The filter is evaluated in the scan: recall is 1.0 at any selectivity.
Status scan_top_k(const OpContext& ctx, ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids,
                  TensorView scores);

}  // namespace corvid::ops
