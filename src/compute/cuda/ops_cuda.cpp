// From views to the kernels' arguments.
#include "cuda/status.hpp"
#include "cuda/stream_impl.hpp"
#include "weight_impl.hpp"

namespace corvid::cuda {

namespace {

template <class T, class View>
Rows<T> rows_of(const View& v) {
  auto* data = static_cast<T*>(v.data);
  if (v.rank == 3) return {data, v.dim(1), v.stride(0), v.stride(1)};
  return {data, 1, v.stride(0), 0};
}
Rows<const float> in(const ConstTensorView& v) { return rows_of<const float>(v); }
Rows<float> out(const TensorView& v) { return rows_of<float>(v); }
template <class View>
std::int64_t row_count(const View& v) { return v.rank == 3 ? v.dim(0) * v.dim(1) : v.dim(0); }
const std::int32_t* ints(const ConstTensorView& v) { return static_cast<const std::int32_t*>(v.data); }

Format format_of(DType dtype) {
  switch (dtype) {
    case DType::f16: return Format::f16;
    case DType::bf16: return Format::bf16;
    case DType::q8_0: return Format::q8_0;
    case DType::q4_0: return Format::q4_0;
    case DType::q4_1: return Format::q4_1;
    case DType::q5_0: return Format::q5_0;
    case DType::q5_1: return Format::q5_1;
    case DType::q2_k: return Format::q2_k;
    case DType::q3_k: return Format::q3_k;
    case DType::q4_k: return Format::q4_k;
    case DType::q5_k: return Format::q5_k;
    case DType::q6_k: return Format::q6_k;
    default: return Format::f32;  // what prepare_weight lets through
  }
}

Matrix matrix_of(const Weight& w) {
  const auto& impl = w.impl();
  return {reinterpret_cast<const std::uint8_t*>(impl.on_device.data()), format_of(impl.dtype_on_device), impl.rows, impl.cols, static_cast<std::int64_t>(impl.row_bytes)};
}

Paged paged(const ops::RaggedRows& rows, const ops::PagedKv& kv) {
  Paged p{};
  p.k = kv.k.data;
  p.v = kv.v.data;
  p.half = kv.k.dtype == DType::f16;
  p.page_stride = kv.k.stride(0);
  p.head_stride = kv.k.stride(1);
  p.slot_stride = kv.k.stride(2);
  p.page_tokens = static_cast<int>(kv.k.dim(2));
  p.row_offsets = ints(rows.row_offsets);
  p.positions = ints(rows.positions);
  p.page_table = ints(rows.page_table);
  p.table_stride = rows.page_table.stride(0);
  p.sequences = rows.page_table.dim(0);
  return p;
}

constexpr std::int64_t kWidestHead = 256;
Status check_head(std::int64_t d) {
  if (d <= kWidestHead) return {};
  return fail(Error::unsupported("attention with heads of " + std::to_string(d) + " elements on CUDA: at most " + std::to_string(kWidestHead) + "; choose the device \"cpu\""));
}

// From this many rows on, 16-bit products through cuBLASLt (bf16 where the weights are, else f16, which keeps three bits more): below, reading the weights as stored is what takes the time.
constexpr std::int64_t kDenseFrom = 17, kDequantiseFrom = 65;

}  // namespace

Status CudaStream::linear(const OpContext& ctx, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate) {
  CORVID_TRY_STATUS(choose());
  LinearArgs a{};
  a.x = static_cast<const float*>(x.data);
  a.n = x.dim(0);
  a.x_stride = x.stride(0);
  a.w = matrix_of(w);
  a.bias = bias ? static_cast<const float*>(bias.vector().data) : nullptr;
  a.y = static_cast<float*>(y.data);
  a.y_stride = y.stride(0);
  a.accumulate = accumulate;
  a.exact = ctx.precision == Precision::f32;
  const bool dense = a.w.format == Format::bf16;
  const bool planned = a.n <= planned_rows_ && a.w.cols <= planned_width_ && (dense || a.w.rows * a.w.cols <= planned_matrix_);
  if (!a.exact && planned && a.n >= (dense ? kDenseFrom : kDequantiseFrom) && a.w.cols % 8 == 0) {
    cuda::round_rows(a.x, a.n, a.w.cols, a.x_stride, rounded_, !dense, stream_);
    const void* weights = a.w.data;
    if (!dense) {
      cuda::dequantise(a.w, dequantised_, stream_);
      weights = dequantised_;
    }
    CORVID_TRY_STATUS(launched("linear"));
    CORVID_TRY_STATUS(matmul(dense ? CUDA_R_16BF : CUDA_R_16F, weights, rounded_, a.y, a.y_stride, a.w.rows, a.n, a.w.cols, accumulate, a.bias));
    return launched("linear");
  }
  cuda::linear(a, stream_);
  return launched("linear");
}

Status CudaStream::matmul(cudaDataType_t type, const void* w, const void* x, float* y, std::int64_t y_stride, std::int64_t m, std::int64_t n, std::int64_t k, bool accumulate, const float* bias) {
  // cuBLASLt counts columns first: its y is [m, n] with a leading dimension of y_stride.
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t wl = nullptr, xl = nullptr, yl = nullptr;
  cublasStatus_t code = lt_.desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  const cublasLtEpilogue_t with_bias = CUBLASLT_EPILOGUE_BIAS;
  const auto step = [&](auto&& call) { if (code == CUBLAS_STATUS_SUCCESS) code = call(); };
  step([&] { return lt_.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed); });
  if (bias) {
    step([&] { return lt_.desc_set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &with_bias, sizeof with_bias); });
    step([&] { return lt_.desc_set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias); });
  }
  step([&] { return lt_.layout_create(&wl, type, static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(m), k); });
  step([&] { return lt_.layout_create(&xl, type, static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(n), k); });
  step([&] { return lt_.layout_create(&yl, CUDA_R_32F, static_cast<std::uint64_t>(m), static_cast<std::uint64_t>(n), y_stride); });
  const auto key = std::make_tuple(static_cast<std::int64_t>(type) * 2 + (bias ? 1 : 0), m, n, k, y_stride);
  auto known = algorithms_.find(key);
  if (known == algorithms_.end()) {
    cublasLtMatmulPreference_t preference = nullptr;
    constexpr std::size_t memory = std::size_t{32} << 20;
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    step([&] { return lt_.preference_create(&preference); });
    step([&] { return lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &memory, sizeof memory); });
    step([&] { return lt_.heuristic(handle_, desc, wl, xl, yl, yl, preference, 1, &found, &count); });
    if (code == CUBLAS_STATUS_SUCCESS && count == 0) code = CUBLAS_STATUS_NOT_SUPPORTED;
    if (preference) (void)lt_.preference_destroy(preference);
    if (code == CUBLAS_STATUS_SUCCESS) {
      if (algorithms_.size() >= 4096) algorithms_.clear();  // chunks of every length
      known = algorithms_.emplace(key, found.algo).first;
    }
  }
  const float one = 1, before = accumulate ? 1.0f : 0.0f;
  step([&] { return lt_.matmul(handle_, desc, &one, w, wl, x, xl, &before, y, yl, y, yl, &known->second, lt_memory_, std::size_t{32} << 20, stream_); });
  if (wl) (void)lt_.layout_destroy(wl);
  if (xl) (void)lt_.layout_destroy(xl);
  if (yl) (void)lt_.layout_destroy(yl);
  if (desc) (void)lt_.desc_destroy(desc);
  if (code == CUBLAS_STATUS_SUCCESS) return {};
  return fail(Error::internal("cuBLASLt refuses a product of " + std::to_string(m) + " × " + std::to_string(n) + " × " + std::to_string(k) + " (status " + std::to_string(static_cast<int>(code)) + ")"));
}

Status CudaStream::embedding(ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) {
  CORVID_TRY_STATUS(choose());
  cuda::embedding(ints(ids), ids.dim(0), matrix_of(table), scale, static_cast<float*>(y.data), y.stride(0), accumulate, stream_);
  return launched("embedding");
}
Status CudaStream::gather_rows(ConstTensorView rows, ConstTensorView x, TensorView y) {
  CORVID_TRY_STATUS(choose());
  cuda::gather_rows(ints(rows), rows.dim(0), static_cast<const float*>(x.data), x.stride(0), x.dim(1), static_cast<float*>(y.data), y.stride(0), stream_);
  return launched("gather_rows");
}
Status CudaStream::rms_norm(ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset) {
  CORVID_TRY_STATUS(choose());
  cuda::rms_norm(in(x), row_count(x), x.dim(-1), gain, eps, gain_offset, out(y), stream_);
  return launched("rms_norm");
}
Status CudaStream::layer_norm(ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y) {
  CORVID_TRY_STATUS(choose());
  cuda::layer_norm(in(x), row_count(x), x.dim(-1), gain, bias, eps, out(y), stream_);
  return launched("layer_norm");
}
Status CudaStream::add(ConstTensorView x, TensorView y) {
  CORVID_TRY_STATUS(choose());
  cuda::add(in(x), row_count(x), x.dim(-1), out(y), stream_);
  return launched("add");
}
Status CudaStream::gated_activation(ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) {
  CORVID_TRY_STATUS(choose());
  cuda::activation(static_cast<int>(act), in(gate), in(up), row_count(gate), gate.dim(-1), out(y), stream_);
  return launched("gated_activation");
}
Status CudaStream::activation(ops::Activation act, ConstTensorView x, TensorView y) {
  CORVID_TRY_STATUS(choose());
  cuda::activation(static_cast<int>(act), in(x), Rows<const float>{nullptr, 1, 0, 0}, row_count(x), x.dim(-1), out(y), stream_);
  return launched("activation");
}
Status CudaStream::rope(const ops::RopeParams& params, ConstTensorView positions, TensorView x) {
  CORVID_TRY_STATUS(choose());
  RopeArgs a{};
  a.x = static_cast<float*>(x.data);
  a.tokens = x.dim(0);
  a.heads = x.dim(1);
  a.token_stride = x.stride(0);
  a.head_stride = x.stride(1);
  a.positions = ints(positions);
  a.inverse_frequencies = static_cast<const float*>(params.inverse_frequencies.data);
  a.dims = params.dims;
  a.interleaved = params.pairing == ops::RopePairing::interleaved;
  a.base = params.base;
  a.position_scale = params.position_scale;
  a.magnitude = params.magnitude;
  cuda::rope(a, stream_);
  return launched("rope");
}
Status CudaStream::pool_rows(ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y) {
  CORVID_TRY_STATUS(choose());
  cuda::pool_rows(static_cast<int>(pooling), ints(row_offsets), y.dim(0), in(x), x.dim(1), out(y), stream_);
  return launched("pool_rows");
}
Status CudaStream::l2_normalise(TensorView x) {
  CORVID_TRY_STATUS(choose());
  cuda::l2_normalise(out(x), x.dim(0), x.dim(1), stream_);
  return launched("l2_normalise");
}
Status CudaStream::kv_append(const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv) {
  CORVID_TRY_STATUS(choose());
  cuda::kv_append(paged(rows, kv), in(k), in(v), k.dim(0), k.dim(1), k.dim(2), stream_);
  return launched("kv_append");
}
Status CudaStream::paged_attention(const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q, ops::PagedKv kv, TensorView y) {
  CORVID_TRY_STATUS(check_head(q.dim(2)));
  CORVID_TRY_STATUS(choose());
  const AttentionArgs a{in(q), out(y), q.dim(0), q.dim(1), kv.k.dim(1), q.dim(2), params.scale, params.logit_softcap, params.window};
  if (!cuda::paged_attention_tiled(a, paged(rows, kv), stream_)) cuda::paged_attention(a, paged(rows, kv), stream_);
  return launched("paged_attention");
}
Status CudaStream::encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k, ConstTensorView v, TensorView y) {
  CORVID_TRY_STATUS(check_head(q.dim(2)));
  CORVID_TRY_STATUS(choose());
  const AttentionArgs a{in(q), out(y), q.dim(0), q.dim(1), q.dim(1), q.dim(2), scale, 0, 0};
  const std::int64_t sequences = row_offsets.dim(0) - 1;
  const bool tiled = ctx.precision == Precision::fast && cuda::encoder_attention_tiled(a, ints(row_offsets), sequences, in(k), in(v), stream_);
  if (!tiled) cuda::encoder_attention(a, ints(row_offsets), sequences, in(k), in(v), stream_);
  return launched("encoder_attention");
}

}  // namespace corvid::cuda
