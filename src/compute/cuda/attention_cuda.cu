// Attention: a block for each (row, head). Its warps take positions in turn, each with a softmax of its own that is corrected as larger
// scores appear (Milakov & Gimelshein 2018); the warps' results are joined at the end.
#include <cuda_fp16.h>

#include "cuda/launch.hpp"

namespace corvid::cuda {

namespace {

constexpr int kWarps = 8;
constexpr int kAhead = 4;  // positions that a warp loads before it uses the first

__device__ inline float as_float(float v) { return v; }
__device__ inline float as_float(__half v) { return __half2float(v); }

// Which sequence a row belongs to: the last whose offset is not behind it.
__device__ inline std::int64_t sequence_of(const std::int32_t* offsets, std::int64_t sequences, std::int64_t row) {
  std::int64_t low = 0, high = sequences - 1;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (offsets[middle] <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}

template <class T>
struct PagedSource {
  using Element = T;
  Paged kv;
  const std::int32_t* table = nullptr;
  __device__ void start(std::int64_t row, int window, std::int64_t& first, std::int64_t& last) {
    table = kv.page_table + sequence_of(kv.row_offsets, kv.sequences, row) * kv.table_stride;
    last = kv.positions[row];
    first = window > 0 && last >= window ? last - window + 1 : 0;
  }
  __device__ std::int64_t at(std::int64_t position, std::int64_t head) const {
    return table[position / kv.page_tokens] * kv.page_stride + head * kv.head_stride + (position % kv.page_tokens) * kv.slot_stride;
  }
  __device__ const T* key(std::int64_t position, std::int64_t head) const { return static_cast<const T*>(kv.k) + at(position, head); }
  __device__ const T* value(std::int64_t position, std::int64_t head) const { return static_cast<const T*>(kv.v) + at(position, head); }
};

struct PackedSource {
  using Element = float;
  Rows<const float> k, v;
  const std::int32_t* offsets;
  std::int64_t sequences;
  __device__ void start(std::int64_t row, int, std::int64_t& first, std::int64_t& last) {
    const std::int64_t s = sequence_of(offsets, sequences, row);
    first = offsets[s];
    last = offsets[s + 1] - 1;
  }
  __device__ const float* key(std::int64_t position, std::int64_t head) const { return k.data + position * k.outer + head * k.inner; }
  __device__ const float* value(std::int64_t position, std::int64_t head) const { return v.data + position * v.outer + head * v.inner; }
};

// Block (32, kWarps); grid (heads, rows). E elements of a head in each lane: d ≤ 32·E.
template <int E, class Source>
__global__ void attend(AttentionArgs a, Source source, std::int64_t first_row) {
  __shared__ float tops[kWarps], sums[kWarps], parts[kWarps][32 * E];
  const std::int64_t row = first_row + blockIdx.y, head = blockIdx.x, kv_head = head / (a.heads / a.kv_heads);
  const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y), d = static_cast<int>(a.d);
  std::int64_t first, last;
  source.start(row, a.window, first, last);
  const float* q = a.q.at(row * a.heads + head);
  float query[E], out[E];
#pragma unroll
  for (int e = 0; e < E; ++e) {
    query[e] = lane + 32 * e < d ? q[lane + 32 * e] : 0.0f;
    out[e] = 0;
  }
  float top = -INFINITY, sum = 0;
  for (std::int64_t p = first + warp; p <= last; p += kWarps * kAhead) {
    float score[kAhead], value[kAhead][E];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const std::int64_t position = p + j * kWarps;
      score[j] = 0;
      if (position > last) continue;
      const auto* k = source.key(position, kv_head);
      const auto* v = source.value(position, kv_head);
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const bool inside = lane + 32 * e < d;
        score[j] += inside ? query[e] * as_float(k[lane + 32 * e]) : 0.0f;
        value[j][e] = inside ? as_float(v[lane + 32 * e]) : 0.0f;
      }
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
#pragma unroll
      for (int i = 16; i > 0; i /= 2) score[j] += __shfl_xor_sync(0xffffffffu, score[j], i);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (p + j * kWarps > last) continue;
      float s = score[j] * a.scale;
      if (a.softcap > 0) s = a.softcap * tanhf(s / a.softcap);
      const float above = fmaxf(top, s), shrink = expf(top - above), weight = expf(s - above);
      top = above;
      sum = sum * shrink + weight;
#pragma unroll
      for (int e = 0; e < E; ++e) out[e] = out[e] * shrink + weight * value[j][e];
    }
  }
  if (lane == 0) {
    tops[warp] = top;
    sums[warp] = sum;
  }
#pragma unroll
  for (int e = 0; e < E; ++e) parts[warp][lane + 32 * e] = out[e];
  __syncthreads();
  float all = -INFINITY, total = 0;
  for (int w = 0; w < kWarps; ++w) all = fmaxf(all, tops[w]);
  for (int w = 0; w < kWarps; ++w) total += sums[w] * expf(tops[w] - all);
  float* y = a.y.at(row * a.heads + head);
  for (int i = warp * 32 + lane; i < d; i += kWarps * 32) {
    float value = 0;
    for (int w = 0; w < kWarps; ++w) value += parts[w][i] * expf(tops[w] - all);
    y[i] = value / total;
  }
}

template <class Source>
void attend_all(const AttentionArgs& a, Source source, cudaStream_t stream) {
  constexpr std::int64_t kMostRows = 65535;  // gridDim.y
  for (std::int64_t first = 0; first < a.rows; first += kMostRows) {
    const dim3 grid(static_cast<unsigned>(a.heads), static_cast<unsigned>(a.rows - first < kMostRows ? a.rows - first : kMostRows)), block(32, kWarps);
    if (a.d <= 32) attend<1><<<grid, block, 0, stream>>>(a, source, first);
    else if (a.d <= 64) attend<2><<<grid, block, 0, stream>>>(a, source, first);
    else if (a.d <= 128) attend<4><<<grid, block, 0, stream>>>(a, source, first);
    else attend<8><<<grid, block, 0, stream>>>(a, source, first);
  }
}

template <class T>
__global__ void append(Paged kv, Rows<const float> k, Rows<const float> v, std::int64_t kv_heads, std::int64_t d) {
  const std::int64_t row = blockIdx.x;
  const std::int32_t* table = kv.page_table + sequence_of(kv.row_offsets, kv.sequences, row) * kv.table_stride;
  const std::int64_t position = kv.positions[row], page = table[position / kv.page_tokens];
  for (std::int64_t i = threadIdx.x; i < kv_heads * d; i += blockDim.x) {
    const std::int64_t head = i / d, c = i % d;
    const std::int64_t at = page * kv.page_stride + head * kv.head_stride + (position % kv.page_tokens) * kv.slot_stride + c;
    static_cast<T*>(kv.k)[at] = static_cast<T>(k.at(row * kv_heads + head)[c]);
    static_cast<T*>(kv.v)[at] = static_cast<T>(v.at(row * kv_heads + head)[c]);
  }
}

}  // namespace

void paged_attention(const AttentionArgs& args, const Paged& kv, cudaStream_t stream) {
  if (kv.half) attend_all(args, PagedSource<__half>{kv}, stream);
  else attend_all(args, PagedSource<float>{kv}, stream);
}

void encoder_attention(const AttentionArgs& args, const std::int32_t* row_offsets, std::int64_t sequences, Rows<const float> k, Rows<const float> v, cudaStream_t stream) {
  attend_all(args, PackedSource{k, v, row_offsets, sequences}, stream);
}

void kv_append(const Paged& kv, Rows<const float> k, Rows<const float> v, std::int64_t rows, std::int64_t kv_heads, std::int64_t d, cudaStream_t stream) {
  if (kv.half) append<__half><<<static_cast<unsigned>(rows), 256, 0, stream>>>(kv, k, v, kv_heads, d);
  else append<float><<<static_cast<unsigned>(rows), 256, 0, stream>>>(kv, k, v, kv_heads, d);
}

}  // namespace corvid::cuda
