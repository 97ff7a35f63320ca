// y = x · Wᵀ with W kept as stored. Few rows: a warp per output reads W once, for up to four rows of x. Many rows: 64 × 64 tiles whose
// W part is dequantised into shared memory, with f32 products (exact) or tf32 tensor cores.
#include <mma.h>

#include "cuda/decode.cuh"
#include "cuda/launch.hpp"

namespace corvid::cuda {

namespace {

constexpr int kWarps = 4, kRows = 4;
// From here on tiles read W less often than the warps would: 64 rows of x a read instead of 4.
constexpr std::int64_t kTileFrom = 17;
constexpr int kTile = 64, kDepth = 32, kPad = 4;

__device__ inline float warp_sum(float v) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) v += __shfl_xor_sync(0xffffffffu, v, i);
  return v;
}

__device__ inline void store(const LinearArgs& a, std::int64_t row, std::int64_t out, float sum) {
  if (a.bias) sum += a.bias[out];
  float& y = a.y[row * a.y_stride + out];
  y = a.accumulate ? y + sum : sum;
}

// Stores the warps' sums of N rows of x; S > 1: a block's warps hold parts of one output.
template <int N, int S>
__device__ inline void store_sums(const LinearArgs& a, const float* sum, std::int64_t first_row, std::int64_t out) {
  __shared__ float parts[kWarps][N];
#pragma unroll
  for (int r = 0; r < N; ++r) {
    float total = warp_sum(sum[r]);
    if (S > 1) {
      if (threadIdx.x == 0) parts[threadIdx.y][r] = total;
      __syncthreads();
      total = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) total += parts[w][r];
    }
    if (threadIdx.x == 0 && (S == 1 || threadIdx.y == 0) && first_row + r < a.n) store(a, first_row + r, out, total);
  }
}

// Block (32, kWarps); grid (outputs · S / kWarps, rows / N). S warps share an output: 1 or kWarps.
template <Format F, int N, int S>
__global__ void few_rows(LinearArgs a, bool aligned) {
  const std::int64_t out = S > 1 ? blockIdx.x : static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (out >= a.w.rows) return;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.y) * N;
  const std::uint8_t* row = a.w.data + out * a.w.row_bytes;
  const std::int64_t units = (a.w.cols + 7) / 8;
  float sum[N] = {};
  // Several of a lane's loads are under way at once.
#pragma unroll(N == 1 ? 4 : 2)
  for (std::int64_t u = threadIdx.x + (S > 1 ? 32 * threadIdx.y : 0); u < units; u += 32 * S) {
    float w[8];
    decode8<F>(row, u, a.w.cols, w);
#pragma unroll
    for (int r = 0; r < N; ++r) {
      if (first_row + r >= a.n) continue;
      const float* x = a.x + (first_row + r) * a.x_stride + u * 8;
      if (aligned) {
        const float4 lo = reinterpret_cast<const float4*>(x)[0], hi = reinterpret_cast<const float4*>(x)[1];
        sum[r] += w[0] * lo.x + w[1] * lo.y + w[2] * lo.z + w[3] * lo.w + w[4] * hi.x + w[5] * hi.y + w[6] * hi.z + w[7] * hi.w;
      } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) if (u * 8 + i < a.w.cols) sum[r] += w[i] * x[i];
      }
    }
  }
  store_sums<N, S>(a, sum, first_row, out);
}

// The same for q4_k, whose blocks are whole 16-byte words: eight lanes a block of 256, each the 32 elements of one word, and
// Σ x (d s q - m) = d s Σ x q - m Σ x in each half of them.
template <int N, int S>
__global__ void few_rows_q4k(LinearArgs a) {
  const std::int64_t out = S > 1 ? blockIdx.x : static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (out >= a.w.rows) return;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.y) * N;
  const std::uint8_t* row = a.w.data + out * a.w.row_bytes;
  const int lane = static_cast<int>(threadIdx.x), word = lane % 8, group = word / 2 * 2;
  float sum[N] = {};
#pragma unroll 2
  for (std::int64_t block = lane / 8 + (S > 1 ? 4 * threadIdx.y : 0); block * 256 < a.w.cols; block += 4 * S) {
    const auto* p = reinterpret_cast<const uint4*>(row + block * 144);
    const uint4 head = __ldg(p), bits = __ldg(p + 1 + word);
    const std::uint32_t heads[4] = {head.x, head.y, head.z, head.w}, words[4] = {bits.x, bits.y, bits.z, bits.w};
    // Twelve bytes of scales behind d and m: groups 0 to 3 in bytes 0 to 3 (scales) and 4 to 7 (minimums), the others spread.
    const int shift = group % 4 * 8;
    std::uint32_t scales, minimums;  // of the groups `group` and `group` + 1, in the two low bytes
    if (group < 4) {
      scales = heads[1] >> shift & 0x3f3fu;
      minimums = heads[2] >> shift & 0x3f3fu;
    } else {
      scales = (heads[3] >> shift & 0x0f0fu) | (heads[1] >> shift >> 2 & 0x3030u);
      minimums = (heads[3] >> shift >> 4 & 0x0f0fu) | (heads[2] >> shift >> 2 & 0x3030u);
    }
    const float d = half_bits(heads[0] & 0xffff), m = half_bits(heads[0] >> 16);
    const float low_scale = d * static_cast<float>(scales & 255), high_scale = d * static_cast<float>(scales >> 8);
    const float low_minimum = m * static_cast<float>(minimums & 255), high_minimum = m * static_cast<float>(minimums >> 8);
    const std::int64_t at = block * 256 + group * 32 + word % 2 * 16;
#pragma unroll
    for (int r = 0; r < N; ++r) {
      if (first_row + r >= a.n) continue;
      const float* x = a.x + (first_row + r) * a.x_stride + at;
      float low = 0, high = 0, low_x = 0, high_x = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 l = reinterpret_cast<const float4*>(x)[i], h = reinterpret_cast<const float4*>(x + 32)[i];
        const float lx[4] = {l.x, l.y, l.z, l.w}, hx[4] = {h.x, h.y, h.z, h.w};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          // A small integer under the exponent of 2^23 is that float, 2^23 too large.
          const float q_low = __uint_as_float(0x4b000000u | (words[i] >> (8 * k) & 15u)) - 8388608.0f;
          const float q_high = __uint_as_float(0x4b000000u | (words[i] >> (8 * k + 4) & 15u)) - 8388608.0f;
          low += lx[k] * q_low;
          high += hx[k] * q_high;
          low_x += lx[k];
          high_x += hx[k];
        }
      }
      sum[r] += low_scale * low - low_minimum * low_x + high_scale * high - high_minimum * high_x;
    }
  }
  store_sums<N, S>(a, sum, first_row, out);
}

// Eight elements of x from column 8·unit; 0 outside.
__device__ inline void load_x8(const LinearArgs& a, std::int64_t row, std::int64_t unit, bool aligned, float* v) {
  const std::int64_t first = unit * 8;
  const float* x = a.x + row * a.x_stride + first;
  if (row < a.n && aligned && first < a.w.cols) {
    const float4 lo = reinterpret_cast<const float4*>(x)[0], hi = reinterpret_cast<const float4*>(x)[1];
    v[0] = lo.x; v[1] = lo.y; v[2] = lo.z; v[3] = lo.w;
    v[4] = hi.x; v[5] = hi.y; v[6] = hi.z; v[7] = hi.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = row < a.n && first + i < a.w.cols ? x[i] : 0.0f;
}

template <Format F>
__device__ inline void load_w8(const LinearArgs& a, std::int64_t out, std::int64_t unit, float* v) {
  if (out < a.w.rows && unit * 8 < a.w.cols) return decode8<F>(a.w.data + out * a.w.row_bytes, unit, a.w.cols, v);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = 0;
}

// Block 256; grid (outputs / 64, rows / 64). Each thread a 4 × 4 patch.
template <Format F>
__global__ void __launch_bounds__(256) tile_f32(LinearArgs a, bool aligned) {
  __shared__ float xs[kDepth][kTile + kPad], ws[kDepth][kTile + kPad];
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.y) * kTile, out0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const int line = static_cast<int>(threadIdx.x) / 4, part = static_cast<int>(threadIdx.x) % 4;
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  float sum[4][4] = {};
  for (std::int64_t k0 = 0; k0 < a.w.cols; k0 += kDepth) {
    float v[8];
    load_x8(a, row0 + line, k0 / 8 + part, aligned, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) xs[part * 8 + i][line] = v[i];
    load_w8<F>(a, out0 + line, k0 / 8 + part, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) ws[part * 8 + i][line] = v[i];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&xs[k][ty * 4]), w = *reinterpret_cast<const float4*>(&ws[k][tx * 4]);
      const float xv[4] = {x.x, x.y, x.z, x.w}, wv[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += xv[i] * wv[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (row0 + ty * 4 + i < a.n && out0 + tx * 4 + j < a.w.rows) store(a, row0 + ty * 4 + i, out0 + tx * 4 + j, sum[i][j]);
    }
}

// Block 256 = 8 warps, 4 along rows, 2 along outputs; each warp 16 × 32 of the tile.
template <Format F>
__global__ void __launch_bounds__(256) tile_tf32(LinearArgs a, bool aligned) {
  namespace wmma = nvcuda::wmma;
  constexpr int kLine = kDepth + kPad, kOutLine = kTile + kPad;
  __shared__ __align__(32) float memory[2 * kTile * kLine > kTile * kOutLine ? 2 * kTile * kLine : kTile * kOutLine];
  float* xs = memory;                    // [64][36]
  float* ws = memory + kTile * kLine;    // [64][36]
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.y) * kTile, out0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const int line = static_cast<int>(threadIdx.x) / 4, part = static_cast<int>(threadIdx.x) % 4;
  const int warp = static_cast<int>(threadIdx.x) / 32, wm = (warp / 2) * 16, wn = (warp % 2) * 32;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> sum[2];
  for (auto& s : sum) wmma::fill_fragment(s, 0.0f);
  for (std::int64_t k0 = 0; k0 < a.w.cols; k0 += kDepth) {
    float v[8];
    load_x8(a, row0 + line, k0 / 8 + part, aligned, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) xs[line * kLine + part * 8 + i] = wmma::__float_to_tf32(v[i]);
    load_w8<F>(a, out0 + line, k0 / 8 + part, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) ws[line * kLine + part * 8 + i] = wmma::__float_to_tf32(v[i]);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; k += 8) {
      wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> x;
      wmma::load_matrix_sync(x, xs + wm * kLine + k, kLine);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::col_major> w;
        wmma::load_matrix_sync(w, ws + (wn + j * 16) * kLine + k, kLine);
        wmma::mma_sync(sum[j], x, w, sum[j]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) wmma::store_matrix_sync(memory + wm * kOutLine + wn + j * 16, sum[j], kOutLine, wmma::mem_row_major);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile; i += 256) {
    const int r = i / kTile, c = i % kTile;
    if (row0 + r < a.n && out0 + c < a.w.rows) store(a, row0 + r, out0 + c, memory[r * kOutLine + c]);
  }
}

template <Format F>
__global__ void gather_matrix(const std::int32_t* ids, Matrix table, float scale, float* y, std::int64_t y_stride, bool accumulate) {
  const std::int64_t i = blockIdx.x;
  const std::uint8_t* row = table.data + ids[i] * table.row_bytes;
  for (std::int64_t u = threadIdx.x; u * 8 < table.cols; u += blockDim.x) {
    float w[8];
    decode8<F>(row, u, table.cols, w);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (u * 8 + j >= table.cols) break;
      float& out = y[i * y_stride + u * 8 + j];
      out = (accumulate ? out : 0.0f) + scale * w[j];
    }
  }
}

__device__ inline std::uint32_t rounded_pair(float a, float b, __nv_bfloat16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}
__device__ inline std::uint32_t rounded_pair(float a, float b, __half) {
  const __half2 pair = __floats2half2_rn(fminf(fmaxf(a, -65504.0f), 65504.0f), fminf(fmaxf(b, -65504.0f), 65504.0f));
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// A thread eight neighbouring elements, in 16-byte words where x allows it.
template <class T>
__global__ void round_eights(const float* x, std::int64_t cols, std::int64_t x_stride, bool aligned, T* out) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8, row = blockIdx.y;
  if (first >= cols) return;
  const float* from = x + row * x_stride + first;
  float v[8];
  if (aligned) {
    const float4 lo = reinterpret_cast<const float4*>(from)[0], hi = reinterpret_cast<const float4*>(from)[1];
    v[0] = lo.x; v[1] = lo.y; v[2] = lo.z; v[3] = lo.w;
    v[4] = hi.x; v[5] = hi.y; v[6] = hi.z; v[7] = hi.w;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = from[i];
  }
  *reinterpret_cast<uint4*>(out + row * cols + first) =
      make_uint4(rounded_pair(v[0], v[1], T()), rounded_pair(v[2], v[3], T()), rounded_pair(v[4], v[5], T()), rounded_pair(v[6], v[7], T()));
}

template <Format F>
__global__ void dequantise_eights(Matrix w, __half* out) {
  const std::int64_t units = w.cols / 8, i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= units * w.rows) return;
  const std::int64_t row = i / units, unit = i % units;
  float v[8];
  decode8<F>(w.data + row * w.row_bytes, unit, w.cols, v);
  union { __half2 pairs[4]; uint4 all; } packed;
#pragma unroll
  for (int j = 0; j < 4; ++j) packed.pairs[j] = __floats2half2_rn(v[2 * j], v[2 * j + 1]);
  reinterpret_cast<uint4*>(out)[i] = packed.all;
}

constexpr std::int64_t kMostRows = 65535;  // gridDim.y

// A warp an output of these few leaves most of a large device idle, while each reads a long row alone. For shorter rows: no gain
// was seen (rows_cuda.cu).
constexpr std::int64_t kSplitRows = 4096, kSplitCols = 4096;

template <Format F, int S>
void few_rows_of(const LinearArgs& a, bool aligned, cudaStream_t stream) {
  const dim3 block(32, kWarps), grid(static_cast<unsigned>((a.w.rows * S + kWarps - 1) / kWarps), static_cast<unsigned>(a.n == 1 ? 1 : (a.n + kRows - 1) / kRows));
  if (F == Format::q4_k && aligned) {
    if (a.n == 1) few_rows_q4k<1, S><<<grid, block, 0, stream>>>(a);
    else few_rows_q4k<kRows, S><<<grid, block, 0, stream>>>(a);
    return;
  }
  if (a.n == 1) few_rows<F, 1, S><<<grid, block, 0, stream>>>(a, aligned);
  else few_rows<F, kRows, S><<<grid, block, 0, stream>>>(a, aligned);
}

}  // namespace

void round_rows(const float* x, std::int64_t n, std::int64_t cols, std::int64_t x_stride, void* to, bool half, cudaStream_t stream) {
  const bool aligned = x_stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
  for (std::int64_t r = 0; r < n; r += kMostRows) {
    const dim3 grid(static_cast<unsigned>((cols / 8 + 127) / 128), static_cast<unsigned>(n - r < kMostRows ? n - r : kMostRows));
    if (half) round_eights<<<grid, 128, 0, stream>>>(x + r * x_stride, cols, x_stride, aligned, static_cast<__half*>(to) + r * cols);
    else round_eights<<<grid, 128, 0, stream>>>(x + r * x_stride, cols, x_stride, aligned, static_cast<__nv_bfloat16*>(to) + r * cols);
  }
}

void dequantise(const Matrix& w, void* f16, cudaStream_t stream) {
  with_format(w.format, [&](auto tag) {
    const std::int64_t threads = w.rows * (w.cols / 8);
    dequantise_eights<decltype(tag)::value><<<static_cast<unsigned>((threads + 255) / 256), 256, 0, stream>>>(w, static_cast<__half*>(f16));
  });
}

void linear(const LinearArgs& a, cudaStream_t stream) {
  const bool aligned = a.w.cols % 8 == 0 && a.x_stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(a.x) % 16 == 0;
  with_format(a.w.format, [&](auto tag) {
    constexpr Format F = decltype(tag)::value;
    if (a.n >= kTileFrom) {
      const dim3 grid(static_cast<unsigned>((a.w.rows + kTile - 1) / kTile), static_cast<unsigned>((a.n + kTile - 1) / kTile));
      if (a.exact) tile_f32<F><<<grid, 256, 0, stream>>>(a, aligned);
      else tile_tf32<F><<<grid, 256, 0, stream>>>(a, aligned);
      return;
    }
    // The matrix alone decides, not the rows of x: a row's sums are added in one order whatever else is in its batch.
    if (a.w.rows <= kSplitRows && a.w.cols >= kSplitCols) few_rows_of<F, kWarps>(a, aligned, stream);
    else few_rows_of<F, 1>(a, aligned, stream);
  });
}

void embedding(const std::int32_t* ids, std::int64_t n, const Matrix& table, float scale, float* y, std::int64_t y_stride, bool accumulate, cudaStream_t stream) {
  with_format(table.format, [&](auto tag) {
    gather_matrix<decltype(tag)::value><<<static_cast<unsigned>(n), 128, 0, stream>>>(ids, table, scale, y, y_stride, accumulate);
  });
}

}  // namespace corvid::cuda
