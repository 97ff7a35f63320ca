// Ops that treat each row alone: norms, activations, rope, pooling, gathering. All f32.
#include <type_traits>

#include "cuda/launch.hpp"

namespace corvid::cuda {

namespace {

constexpr int kThreads = 256, kMostThreads = 1024;

// The sum over a block; every thread gets it. `shared` holds one value a warp.
__device__ float block_sum(float v, float* shared) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) v += __shfl_xor_sync(0xffffffffu, v, i);
  __syncthreads();  // `shared` may still be read from the sum before
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0;
  for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += shared[w];
  return sum;
}

__global__ void rms_norm_rows(Rows<const float> x, std::int64_t d, const float* gain, float eps, float gain_offset, Rows<float> y) {
  __shared__ float shared[kMostThreads / 32];
  const float* in = x.at(blockIdx.x);
  float* out = y.at(blockIdx.x);
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) sum += in[i] * in[i];
  const float inverse = 1.0f / sqrtf(block_sum(sum, shared) / static_cast<float>(d) + eps);
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) out[i] = in[i] * inverse * (gain_offset + gain[i]);
}

__global__ void layer_norm_rows(Rows<const float> x, std::int64_t d, const float* gain, const float* bias, float eps, Rows<float> y) {
  __shared__ float shared[kMostThreads / 32];
  const float* in = x.at(blockIdx.x);
  float* out = y.at(blockIdx.x);
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) sum += in[i];
  const float mean = block_sum(sum, shared) / static_cast<float>(d);
  sum = 0;
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) sum += (in[i] - mean) * (in[i] - mean);
  const float inverse = 1.0f / sqrtf(block_sum(sum, shared) / static_cast<float>(d) + eps);
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) out[i] = (in[i] - mean) * inverse * gain[i] + bias[i];
}

// Rows of at most 32·E elements: a warp each, its elements kept in registers, so that each is read once and nothing waits for a block.
// For encoders, whose batches have many rows: with rms_norm done so too, and products split from 1,024 columns on, small models decoded
// 9 to 22% more slowly (H100, 2026-11; which of the two it was is open).
constexpr int kNormWarps = 4;

__device__ float warp_sum(float v) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) v += __shfl_xor_sync(0xffffffffu, v, i);
  return v;
}

template <int E>
__device__ void load_row(const float* in, int d, float* v) {
#pragma unroll
  for (int e = 0; e < E; ++e) v[e] = static_cast<int>(threadIdx.x) + 32 * e < d ? in[threadIdx.x + 32 * e] : 0.0f;
}

// Block (32, kNormWarps); grid (rows / kNormWarps).
template <int E>
__global__ void layer_norm_warps(Rows<const float> x, std::int64_t rows, int d, const float* gain, const float* bias, float eps, Rows<float> y) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kNormWarps + threadIdx.y;
  if (row >= rows) return;
  float v[E], sum = 0;
  load_row<E>(x.at(row), d, v);
#pragma unroll
  for (int e = 0; e < E; ++e) sum += v[e];
  const float mean = warp_sum(sum) / static_cast<float>(d);
  sum = 0;
#pragma unroll
  for (int e = 0; e < E; ++e) {
    v[e] -= mean;
    if (static_cast<int>(threadIdx.x) + 32 * e < d) sum += v[e] * v[e];
  }
  const float inverse = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(d) + eps);
  float* out = y.at(row);
#pragma unroll
  for (int e = 0; e < E; ++e) {
    const int i = static_cast<int>(threadIdx.x) + 32 * e;
    if (i < d) out[i] = v[e] * inverse * gain[i] + bias[i];
  }
}

__global__ void add_rows(Rows<const float> x, std::int64_t d, Rows<float> y) {
  const float* in = x.at(blockIdx.y);
  float* out = y.at(blockIdx.y);
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < d) out[i] += in[i];
}

// ops::Activation's order: silu, gelu_erf, gelu_tanh, relu.
__device__ float activate(int act, float x) {
  switch (act) {
    case 0: return x / (1.0f + expf(-x));
    case 1: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case 2: return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    default: return x > 0 ? x : 0.0f;
  }
}

__global__ void activate_rows(int act, Rows<const float> gate, Rows<const float> up, std::int64_t d, Rows<float> y) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= d) return;
  const float value = activate(act, gate.at(blockIdx.y)[i]);
  y.at(blockIdx.y)[i] = up.data ? value * up.at(blockIdx.y)[i] : value;
}

// The same, four elements a thread in 16-byte words.
__global__ void activate_fours(int act, Rows<const float> gate, Rows<const float> up, std::int64_t d, Rows<float> y) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i * 4 >= d) return;
  float4 v = reinterpret_cast<const float4*>(gate.at(blockIdx.y))[i], u = make_float4(1, 1, 1, 1);
  if (up.data) u = reinterpret_cast<const float4*>(up.at(blockIdx.y))[i];
  reinterpret_cast<float4*>(y.at(blockIdx.y))[i] = make_float4(activate(act, v.x) * u.x, activate(act, v.y) * u.y, activate(act, v.z) * u.z, activate(act, v.w) * u.w);
}

// A block (32 pairs, 8 heads at a time) for 32 pairs of a token: an angle is computed once, in double, and serves all heads.
__global__ void rope_rows(RopeArgs a) {
  __shared__ float cosines[32], sines[32];
  const std::int64_t t = blockIdx.x;
  const double position = a.positions[t];
  const int half = a.dims / 2, i = static_cast<int>(blockIdx.y * 32 + threadIdx.x);
  if (threadIdx.y == 0 && i < half) {
    const double frequency = a.inverse_frequencies ? static_cast<double>(a.inverse_frequencies[i])
                                                   : pow(static_cast<double>(a.base), -2.0 * i / a.dims) * static_cast<double>(a.position_scale);
    double sine, cosine;
    sincos(position * frequency, &sine, &cosine);
    cosines[threadIdx.x] = static_cast<float>(cosine) * a.magnitude;
    sines[threadIdx.x] = static_cast<float>(sine) * a.magnitude;
  }
  __syncthreads();
  if (i >= half) return;
  const float c = cosines[threadIdx.x], s = sines[threadIdx.x];
  for (std::int64_t h = threadIdx.y; h < a.heads; h += blockDim.y) {
    float* v = a.x + t * a.token_stride + h * a.head_stride;
    float& first = v[a.interleaved ? 2 * i : i];
    float& second = v[a.interleaved ? 2 * i + 1 : i + half];
    const float x = first, y = second;
    first = x * c - y * s;
    second = x * s + y * c;
  }
}

// ops::Pooling's order: mean, cls, last, max.
__global__ void pool(int pooling, const std::int32_t* offsets, Rows<const float> x, std::int64_t d, Rows<float> y) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= d) return;
  const std::int64_t begin = offsets[blockIdx.y], end = offsets[blockIdx.y + 1];
  float value = x.at(pooling == 2 ? end - 1 : begin)[i];
  if (pooling == 3) for (std::int64_t r = begin + 1; r < end; ++r) value = fmaxf(value, x.at(r)[i]);
  if (pooling == 0) {
    for (std::int64_t r = begin + 1; r < end; ++r) value += x.at(r)[i];
    value /= static_cast<float>(end - begin);
  }
  y.at(blockIdx.y)[i] = value;
}

__global__ void normalise_rows(Rows<float> x, std::int64_t d) {
  __shared__ float shared[kThreads / 32];
  float* row = x.at(blockIdx.x);
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) sum += row[i] * row[i];
  sum = block_sum(sum, shared);
  if (sum == 0) return;
  const float inverse = 1.0f / sqrtf(sum);
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) row[i] *= inverse;
}

__global__ void gather(const std::int32_t* rows, const float* x, std::int64_t x_stride, std::int64_t d, float* y, std::int64_t y_stride) {
  const float* in = x + rows[blockIdx.x] * x_stride;
  float* out = y + static_cast<std::int64_t>(blockIdx.x) * y_stride;
  for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) out[i] = in[i];
}

// Four elements a thread, as far as a block goes: one row alone has nothing else to hide its loads behind.
unsigned threads_for(std::int64_t d) { return d > 1024 ? 1024 : d > 512 ? 512 : d > 128 ? 256 : 32; }

// Calls body(std::integral_constant<int, E>) with a lane's share of rows of d elements; false where a warp is too few for them.
template <class Body>
bool with_elements(std::int64_t d, Body body) {
  if (d <= 128) body(std::integral_constant<int, 4>());
  else if (d <= 384) body(std::integral_constant<int, 12>());
  else if (d <= 640) body(std::integral_constant<int, 20>());
  else if (d <= 1024) body(std::integral_constant<int, 32>());
  else return false;
  return true;
}

dim3 element_grid(std::int64_t rows, std::int64_t d) {
  return dim3(static_cast<unsigned>((d + kThreads - 1) / kThreads), static_cast<unsigned>(rows));
}
// gridDim.y ends at 65,535: longer batches go in parts.
constexpr std::int64_t kMostRows = 65535;
template <class T>
bool in_words(const Rows<T>& r) { return reinterpret_cast<std::uintptr_t>(r.data) % 16 == 0 && r.outer % 4 == 0 && r.inner % 4 == 0; }
template <class T>
Rows<T> from_row(Rows<T> rows, std::int64_t first) {
  if (rows.data) rows.data = rows.at(first);
  return rows;
}

}  // namespace

cudaError_t has_code() {
  cudaFuncAttributes ignored{};
  return cudaFuncGetAttributes(&ignored, normalise_rows);
}

void rms_norm(Rows<const float> x, std::int64_t rows, std::int64_t d, const float* gain, float eps, float gain_offset, Rows<float> y, cudaStream_t stream) {
  rms_norm_rows<<<static_cast<unsigned>(rows), threads_for(d), 0, stream>>>(x, d, gain, eps, gain_offset, y);
}
void layer_norm(Rows<const float> x, std::int64_t rows, std::int64_t d, const float* gain, const float* bias, float eps, Rows<float> y, cudaStream_t stream) {
  const bool in_warps = with_elements(d, [&](auto tag) {
    layer_norm_warps<decltype(tag)::value><<<static_cast<unsigned>((rows + kNormWarps - 1) / kNormWarps), dim3(32, kNormWarps), 0, stream>>>(x, rows, static_cast<int>(d), gain, bias, eps, y);
  });
  if (in_warps) return;
  layer_norm_rows<<<static_cast<unsigned>(rows), threads_for(d), 0, stream>>>(x, d, gain, bias, eps, y);
}
void add(Rows<const float> x, std::int64_t rows, std::int64_t d, Rows<float> y, cudaStream_t stream) {
  for (std::int64_t r = 0; r < rows; r += kMostRows) {
    add_rows<<<element_grid(rows - r < kMostRows ? rows - r : kMostRows, d), kThreads, 0, stream>>>(from_row(x, r), d, from_row(y, r));
  }
}
void activation(int act, Rows<const float> gate, Rows<const float> up, std::int64_t rows, std::int64_t d, Rows<float> y, cudaStream_t stream) {
  const bool fours = d % 4 == 0 && in_words(gate) && in_words(up) && in_words(y);
  for (std::int64_t r = 0; r < rows; r += kMostRows) {
    if (fours) activate_fours<<<element_grid(rows - r < kMostRows ? rows - r : kMostRows, d / 4), kThreads, 0, stream>>>(act, from_row(gate, r), from_row(up, r), d, from_row(y, r));
    else activate_rows<<<element_grid(rows - r < kMostRows ? rows - r : kMostRows, d), kThreads, 0, stream>>>(act, from_row(gate, r), from_row(up, r), d, from_row(y, r));
  }
}
void rope(const RopeArgs& args, cudaStream_t stream) { rope_rows<<<dim3(static_cast<unsigned>(args.tokens), static_cast<unsigned>((args.dims / 2 + 31) / 32)), dim3(32, 8), 0, stream>>>(args); }
void pool_rows(int pooling, const std::int32_t* offsets, std::int64_t sequences, Rows<const float> x, std::int64_t d, Rows<float> y, cudaStream_t stream) {
  for (std::int64_t s = 0; s < sequences; s += kMostRows) {
    pool<<<element_grid(sequences - s < kMostRows ? sequences - s : kMostRows, d), kThreads, 0, stream>>>(pooling, offsets + s, x, d, from_row(y, s));
  }
}
void l2_normalise(Rows<float> x, std::int64_t rows, std::int64_t d, cudaStream_t stream) {
  normalise_rows<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(x, d);
}
void gather_rows(const std::int32_t* rows, std::int64_t n, const float* x, std::int64_t x_stride, std::int64_t d, float* y, std::int64_t y_stride, cudaStream_t stream) {
  gather<<<static_cast<unsigned>(n), kThreads, 0, stream>>>(rows, x, x_stride, d, y, y_stride);
}

}  // namespace corvid::cuda
