// The kernels as plain functions: what the host side (cuda/*.cpp) calls and the .cu files define. Queued on a stream, nothing waits.
// Launch errors are left for cudaGetLastError (launched() in status.hpp).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#if defined(__CUDACC__)
#define CORVID_ANY __host__ __device__
#else
#define CORVID_ANY
#endif

namespace corvid::cuda {

/// Whether the calling thread's device can run what this build holds: cudaSuccess, or cudaErrorNoKernelImageForDevice.
cudaError_t has_code();

/// Stored element formats that kernels read; layouts as in tensor/dequantise.cpp.
enum class Format : int { f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k };

/// Rows of the last dimension of a view of rank 2 (inner_count 1) or 3; strides in elements.
template <class T>
struct Rows {
  T* data;
  std::int64_t inner_count, outer, inner;
  CORVID_ANY T* at(std::int64_t i) const { return inner_count == 1 ? data + i * outer : data + (i / inner_count) * outer + (i % inner_count) * inner; }
};

/// A matrix in device memory: [rows, cols] of `format`, rows row_bytes apart.
struct Matrix {
  const std::uint8_t* data;
  Format format;
  std::int64_t rows, cols, row_bytes;
};

struct LinearArgs {
  const float* x;          // [n, w.cols], x_stride apart
  std::int64_t n, x_stride;
  Matrix w;
  const float* bias;       // [w.rows] or null
  float* y;                // [n, w.rows], y_stride apart
  std::int64_t y_stride;
  bool accumulate;
  bool exact;              // products in f32; else tf32 where there are many rows
};
void linear(const LinearArgs& args, cudaStream_t stream);

/// The steps of a product through cuBLASLt: x contiguous in bf16 (`half`: in f16, values beyond its range at its ends), w in f16.
/// w.cols % 8 == 0.
void round_rows(const float* x, std::int64_t n, std::int64_t cols, std::int64_t x_stride, void* to, bool half, cudaStream_t stream);
void dequantise(const Matrix& w, void* f16, cudaStream_t stream);

void embedding(const std::int32_t* ids, std::int64_t n, const Matrix& table, float scale, float* y, std::int64_t y_stride, bool accumulate, cudaStream_t stream);
void gather_rows(const std::int32_t* rows, std::int64_t n, const float* x, std::int64_t x_stride, std::int64_t d, float* y, std::int64_t y_stride, cudaStream_t stream);

void rms_norm(Rows<const float> x, std::int64_t rows, std::int64_t d, const float* gain, float eps, float gain_offset, Rows<float> y, cudaStream_t stream);
void layer_norm(Rows<const float> x, std::int64_t rows, std::int64_t d, const float* gain, const float* bias, float eps, Rows<float> y, cudaStream_t stream);
void add(Rows<const float> x, std::int64_t rows, std::int64_t d, Rows<float> y, cudaStream_t stream);

/// act: ops::Activation's value. `up` null: the plain activation.
void activation(int act, Rows<const float> gate, Rows<const float> up, std::int64_t rows, std::int64_t d, Rows<float> y, cudaStream_t stream);

struct RopeArgs {
  float* x;                           // [tokens, heads, …]
  std::int64_t tokens, heads, token_stride, head_stride;
  const std::int32_t* positions;      // [tokens]
  const float* inverse_frequencies;   // [dims / 2] or null
  int dims;
  bool interleaved;
  float base, position_scale, magnitude;
};
void rope(const RopeArgs& args, cudaStream_t stream);

void pool_rows(int pooling, const std::int32_t* offsets, std::int64_t sequences, Rows<const float> x, std::int64_t d, Rows<float> y, cudaStream_t stream);
void l2_normalise(Rows<float> x, std::int64_t rows, std::int64_t d, cudaStream_t stream);

/// Ragged rows and the pages that they address; strides in elements.
struct Paged {
  void *k, *v;                        // [pages, kv_heads, page_tokens, head_dim]
  bool half;                          // f16, else f32
  std::int64_t page_stride, head_stride, slot_stride;
  int page_tokens;
  const std::int32_t* row_offsets;    // [sequences + 1]
  const std::int32_t* positions;      // [rows]
  const std::int32_t* page_table;     // [sequences, table_stride]
  std::int64_t table_stride, sequences;
};
void kv_append(const Paged& kv, Rows<const float> k, Rows<const float> v, std::int64_t rows, std::int64_t kv_heads, std::int64_t d, cudaStream_t stream);

struct AttentionArgs {
  Rows<const float> q;                // inner_count = heads
  Rows<float> y;
  std::int64_t rows, heads, kv_heads, d;
  float scale, softcap;
  int window;
};
/// Many rows of a sequence at once, rounded to f16 inside; false, with nothing queued, where that does not fit: other head sizes, f32
/// pages, few rows a sequence.
bool paged_attention_tiled(const AttentionArgs& args, const Paged& kv, cudaStream_t stream);
bool encoder_attention_tiled(const AttentionArgs& args, const std::int32_t* row_offsets, std::int64_t sequences, Rows<const float> k, Rows<const float> v, cudaStream_t stream);
/// d ≤ 256.
void paged_attention(const AttentionArgs& args, const Paged& kv, cudaStream_t stream);
void encoder_attention(const AttentionArgs& args, const std::int32_t* row_offsets, std::int64_t sequences, Rows<const float> k, Rows<const float> v, cudaStream_t stream);

}  // namespace corvid::cuda
