// Attention for many rows of a sequence at once: 64 rows of one head a block, products on tensor cores (f16 in, f32 sums), the softmax
// kept in registers and corrected as larger scores appear (Dao et al. 2022; Dao 2023). Each warp owns 16 of the rows.
#include <cuda_fp16.h>

#include "cuda/launch.hpp"

namespace corvid::cuda {

namespace {

constexpr int kRows = 64, kPad = 8;

// The fragments of mma.m16n8k16: a lane holds rows lane / 4 and lane / 4 + 8, columns from 2 · (lane % 4).
__device__ inline void multiply(float* c, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline std::uint32_t word_at(const __half* p) { return *reinterpret_cast<const std::uint32_t*>(p); }
__device__ inline std::uint32_t packed(float a, float b) {
  const __half2 pair = __floats2half2_rn(a, b);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}
// Sixteen positions' values of eight columns, turned round.
__device__ inline void load_turned(const __half* row, std::uint32_t& b0, std::uint32_t& b1) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n" : "=r"(b0), "=r"(b1) : "r"(address));
}

struct PagedTiles {
  Paged kv;
  __device__ const std::int32_t* offsets() const { return kv.row_offsets; }
  __device__ std::int64_t sequences() const { return kv.sequences; }
  // What row r of the batch sees of its sequence s.
  __device__ std::int64_t position(std::int64_t row, std::int64_t) const { return kv.positions[row]; }
  __device__ std::int64_t last(std::int64_t, std::int64_t position) const { return position; }
  __device__ const void* at(const void* base, std::int64_t s, std::int64_t position, std::int64_t head) const {
    const std::int64_t page = kv.page_table[s * kv.table_stride + position / kv.page_tokens];
    return static_cast<const __half*>(base) + page * kv.page_stride + head * kv.head_stride + (position % kv.page_tokens) * kv.slot_stride;
  }
  __device__ uint4 eight(bool value, std::int64_t s, std::int64_t position, std::int64_t head, int column) const {
    return *reinterpret_cast<const uint4*>(static_cast<const __half*>(at(value ? kv.v : kv.k, s, position, head)) + column);
  }
};

struct PackedTiles {
  Rows<const float> k, v;
  const std::int32_t* row_offsets;
  std::int64_t count;
  __device__ const std::int32_t* offsets() const { return row_offsets; }
  __device__ std::int64_t sequences() const { return count; }
  __device__ std::int64_t position(std::int64_t row, std::int64_t s) const { return row - row_offsets[s]; }
  __device__ std::int64_t last(std::int64_t s, std::int64_t) const { return row_offsets[s + 1] - row_offsets[s] - 1; }
  __device__ uint4 eight(bool value, std::int64_t s, std::int64_t position, std::int64_t head, int column) const {
    const Rows<const float>& from = value ? v : k;
    const float* p = from.data + (row_offsets[s] + position) * from.outer + head * from.inner + column;
    return make_uint4(packed(p[0], p[1]), packed(p[2], p[3]), packed(p[4], p[5]), packed(p[6], p[7]));
  }
};

// Block 128; grid (row tiles, heads). D elements a head; T positions a step.
template <int D, int T, class Source>
__global__ void __launch_bounds__(128) attend_tiles(AttentionArgs a, Source source) {
  constexpr int kLine = D + kPad;
  extern __shared__ __align__(16) __half memory[];
  __half* const qs = memory;                   // [64][line]
  __half* const ks = qs + kRows * kLine;       // [T][line]
  __half* const vs = ks + T * kLine;           // [T][line]
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * kRows, head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32, g = lane / 4, t = lane % 4;

  for (int i = static_cast<int>(threadIdx.x); i < kRows * (D / 2); i += 128) {
    const int r = i / (D / 2), c = i % (D / 2) * 2;
    float x = 0, y = 0;
    if (row0 + r < a.rows) {
      const float* q = a.q.at((row0 + r) * a.heads + head);
      x = q[c] * a.scale;
      y = q[c + 1] * a.scale;
    }
    *reinterpret_cast<std::uint32_t*>(qs + r * kLine + c) = packed(x, y);
  }

  float out[D / 8][4];
#pragma unroll
  for (auto& tile : out) tile[0] = tile[1] = tile[2] = tile[3] = 0;
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  const std::int64_t mine[2] = {row0 + warp * 16 + g, row0 + warp * 16 + g + 8};

  const std::int32_t* offsets = source.offsets();
  std::int64_t low = 0, high = source.sequences() - 1;
  while (low < high) {  // the last sequence that begins at row0 or before
    const std::int64_t middle = (low + high + 1) / 2;
    if (offsets[middle] <= row0) low = middle;
    else high = middle - 1;
  }
  const std::int64_t end_row = row0 + kRows < a.rows ? row0 + kRows : a.rows;
  for (std::int64_t s = low; s < source.sequences() && offsets[s] < end_row; ++s) {
    const std::int64_t first_row = offsets[s] > row0 ? offsets[s] : row0, last_row = (offsets[s + 1] < end_row ? offsets[s + 1] : end_row) - 1;
    if (first_row > last_row) continue;
    const std::int64_t first_position = source.position(first_row, s), last = source.last(s, source.position(last_row, s));
    const std::int64_t begin = a.window > 0 && first_position >= a.window ? first_position - a.window + 1 : 0;
    // What each of the lane's two rows sees: [from, to]; nothing when it is another sequence's.
    std::int64_t from[2], to[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      from[r] = 0;
      to[r] = -1;
      if (mine[r] < first_row || mine[r] > last_row) continue;
      const std::int64_t position = source.position(mine[r], s);
      to[r] = source.last(s, position);
      from[r] = a.window > 0 && position >= a.window ? position - a.window + 1 : 0;
    }
    for (std::int64_t p0 = begin / T * T; p0 <= last; p0 += T) {
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < T * (D / 8); i += 128) {
        const int r = i / (D / 8), c = i % (D / 8) * 8;
        uint4 k = make_uint4(0, 0, 0, 0), v = k;
        if (p0 + r >= begin && p0 + r <= last) {
          k = source.eight(false, s, p0 + r, kv_head, c);
          v = source.eight(true, s, p0 + r, kv_head, c);
        }
        *reinterpret_cast<uint4*>(ks + r * kLine + c) = k;
        *reinterpret_cast<uint4*>(vs + r * kLine + c) = v;
      }
      __syncthreads();

      float score[T / 8][4];
#pragma unroll
      for (auto& tile : score) tile[0] = tile[1] = tile[2] = tile[3] = 0;
#pragma unroll
      for (int k = 0; k < D; k += 16) {
        const __half* q = qs + (warp * 16 + g) * kLine + k + 2 * t;
        const std::uint32_t left[4] = {word_at(q), word_at(q + 8 * kLine), word_at(q + 8), word_at(q + 8 * kLine + 8)};
#pragma unroll
        for (int j = 0; j < T / 8; ++j) {
          const __half* key = ks + (j * 8 + g) * kLine + k + 2 * t;
          multiply(score[j], left, word_at(key), word_at(key + 8));
        }
      }

      float above[2] = {top[0], top[1]};
#pragma unroll
      for (int j = 0; j < T / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const std::int64_t position = p0 + j * 8 + 2 * t + (e & 1);
          const int r = e / 2;
          float value = score[j][e];
          if (a.softcap > 0) value = a.softcap * tanhf(value / a.softcap);
          score[j][e] = position >= from[r] && position <= to[r] ? value : -INFINITY;
          above[r] = fmaxf(above[r], score[j][e]);
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        above[r] = fmaxf(above[r], __shfl_xor_sync(0xffffffffu, above[r], 1));
        above[r] = fmaxf(above[r], __shfl_xor_sync(0xffffffffu, above[r], 2));
        const float base = above[r] == -INFINITY ? 0.0f : above[r], shrink = __expf(top[r] - base);  // 0 before anything was seen
        sum[r] *= shrink;
        top[r] = above[r];
        above[r] = base;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
          out[n][2 * r] *= shrink;
          out[n][2 * r + 1] *= shrink;
        }
      }
#pragma unroll
      for (int j = 0; j < T / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          score[j][e] = __expf(score[j][e] - above[e / 2]);
          sum[e / 2] += score[j][e];
        }
      }
#pragma unroll
      for (int k = 0; k < T; k += 16) {
        const std::uint32_t weights[4] = {packed(score[k / 8][0], score[k / 8][1]), packed(score[k / 8][2], score[k / 8][3]),
                                          packed(score[k / 8 + 1][0], score[k / 8 + 1][1]), packed(score[k / 8 + 1][2], score[k / 8 + 1][3])};
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
          std::uint32_t b0, b1;
          load_turned(vs + (k + lane % 16) * kLine + n * 8, b0, b1);
          multiply(out[n], weights, b0, b1);
        }
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    if (mine[r] >= a.rows) continue;
    const float inverse = sum[r] > 0 ? 1.0f / sum[r] : 0.0f;
    float* y = a.y.at(mine[r] * a.heads + head);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      y[n * 8 + 2 * t] = out[n][2 * r] * inverse;
      y[n * 8 + 2 * t + 1] = out[n][2 * r + 1] * inverse;
    }
  }
}

template <int D, class Source>
void launch_tiles(const AttentionArgs& a, Source source, cudaStream_t stream) {
  constexpr int T = D > 128 ? 32 : 64;
  constexpr int kBytes = (kRows + 2 * T) * (D + kPad) * 2;
  if (kBytes > 48 * 1024) (void)cudaFuncSetAttribute(attend_tiles<D, T, Source>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  const dim3 grid(static_cast<unsigned>((a.rows + kRows - 1) / kRows), static_cast<unsigned>(a.heads));
  attend_tiles<D, T, Source><<<grid, 128, kBytes, stream>>>(a, source);
}

template <class Source>
bool dispatch(const AttentionArgs& a, Source source, cudaStream_t stream) {
  switch (a.d) {
    case 32: launch_tiles<32>(a, source, stream); return true;
    case 64: launch_tiles<64>(a, source, stream); return true;
    case 96: launch_tiles<96>(a, source, stream); return true;
    case 128: launch_tiles<128>(a, source, stream); return true;
    case 256: launch_tiles<256>(a, source, stream); return true;
    default: return false;
  }
}

}  // namespace

bool paged_attention_tiled(const AttentionArgs& args, const Paged& kv, cudaStream_t stream) {
  // A tile that spans many sequences would look at each for all of its rows.
  if (!kv.half || args.rows < 16 || args.rows < 8 * kv.sequences) return false;
  return dispatch(args, PagedTiles{kv}, stream);
}

bool encoder_attention_tiled(const AttentionArgs& args, const std::int32_t* row_offsets, std::int64_t sequences, Rows<const float> k, Rows<const float> v, cudaStream_t stream) {
  if (args.rows < 16 || args.rows < 8 * sequences) return false;
  return dispatch(args, PackedTiles{k, v, row_offsets, sequences}, stream);
}

}  // namespace corvid::cuda
