#include "apps/cli/bench_limits.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "corvid/runtime/compute_pool.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace corvid::cli {

namespace {

constexpr std::size_t kReadBytes = std::size_t{512} << 20;
constexpr int kPasses = 5, kSteps = 1000000, kChains = 12;  // as many chains as hide an instruction's latency

double seconds_since(std::chrono::steady_clock::time_point begin) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); }

// Four loads of 64 bytes a turn, which keeps enough of them under way; wider registers where the processor has them.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) std::uint64_t read_words_512(const std::byte* p, std::size_t bytes) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (std::size_t i = 0; i + 256 <= bytes; i += 256) {
    a = _mm512_xor_si512(a, _mm512_loadu_si512(p + i));
    b = _mm512_xor_si512(b, _mm512_loadu_si512(p + i + 64));
    c = _mm512_xor_si512(c, _mm512_loadu_si512(p + i + 128));
    d = _mm512_xor_si512(d, _mm512_loadu_si512(p + i + 192));
  }
  return static_cast<std::uint64_t>(_mm512_reduce_add_epi64(_mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d))));
}
#endif

std::uint64_t read_words(const std::byte* p, std::size_t bytes) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_words_512(p, bytes);
#endif
  typedef std::uint64_t Lanes __attribute__((vector_size(32)));
  Lanes sums[8]{};
  for (std::size_t i = 0; i + 256 <= bytes; i += 256) {
    for (std::size_t j = 0; j < 8; ++j) {
      Lanes x;
      std::memcpy(&x, p + i + 32 * j, 32);
      sums[j] ^= x;
    }
  }
  for (std::size_t j = 1; j < 8; ++j) sums[0] ^= sums[j];
  return sums[0][0] ^ sums[0][1] ^ sums[0][2] ^ sums[0][3];
}

double read_rate(ComputePool& pool) {
  const std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[kReadBytes]);
  if (!memory) return 0;
  const auto threads = static_cast<std::size_t>(pool.threads());
  const std::size_t part = kReadBytes / threads / 128 * 128;
  std::atomic<std::uint64_t> sink{0};
  double best = 0;
  pool.run([&](int i, int) { std::memset(memory.get() + static_cast<std::size_t>(i) * part, i + 1, part); });
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    pool.run([&](int i, int) { sink += read_words(memory.get() + static_cast<std::size_t>(i) * part, part); });
    best = std::max(best, static_cast<double>(part * threads) / seconds_since(begin) / 1e9);
  }
  return best;
}

// Each probe runs kSteps × kChains instructions; the empty assembly keeps a chain in its register.
#define CORVID_CHAIN(n, OP) a##n = OP(a##n); asm volatile("" : CORVID_PROBE_REGISTER(a##n));
#define CORVID_PROBE(NAME, TARGET, TYPE, ZERO, X, Y, OP)                                                          \
  __attribute__((target(TARGET))) void NAME() {                                                                   \
    TYPE a0 = ZERO, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0, a8 = a0, a9 = a0, a10 = a0, a11 = a0; \
    const auto x = X, y = Y;                                                                                      \
    for (int i = 0; i < kSteps; ++i) {                                                                            \
      CORVID_CHAIN(0, OP) CORVID_CHAIN(1, OP) CORVID_CHAIN(2, OP) CORVID_CHAIN(3, OP)                             \
      CORVID_CHAIN(4, OP) CORVID_CHAIN(5, OP) CORVID_CHAIN(6, OP) CORVID_CHAIN(7, OP)                             \
      CORVID_CHAIN(8, OP) CORVID_CHAIN(9, OP) CORVID_CHAIN(10, OP) CORVID_CHAIN(11, OP)                           \
    }                                                                                                             \
  }

using Probe = void (*)();

double rate(ComputePool& pool, Probe probe, double per_instruction) {
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    pool.run([&](int, int) { probe(); });
    best = std::max(best, per_instruction * kSteps * kChains * pool.threads() / seconds_since(begin) / 1e9);
  }
  return best;
}

#if defined(__x86_64__)
#define CORVID_PROBE_REGISTER(a) "+v"(a)
#define CORVID_F32_512(a) _mm512_fmadd_ps(x, y, a)
#define CORVID_INT8_512(a) _mm512_dpbusd_epi32(a, x, y)
#define CORVID_BF16_512(a) _mm512_dpbf16_ps(a, x, y)
#define CORVID_F32_256(a) _mm256_fmadd_ps(x, y, a)
CORVID_PROBE(f32_512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(1.0001f), _mm512_set1_ps(0.9999f), CORVID_F32_512)
CORVID_PROBE(int8_512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_set1_epi8(3), _mm512_set1_epi8(2), CORVID_INT8_512)
CORVID_PROBE(bf16_512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), (__m512bh)_mm512_set1_epi16(0x3f80), (__m512bh)_mm512_set1_epi16(0x3f80), CORVID_BF16_512)
#undef CORVID_PROBE_REGISTER
#define CORVID_PROBE_REGISTER(a) "+x"(a)
CORVID_PROBE(f32_256, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(1.0001f), _mm256_set1_ps(0.9999f), CORVID_F32_256)
#endif

}  // namespace

MachineLimits measure_limits(ComputePool& pool) {
  MachineLimits limits;
  limits.read_gb_s = read_rate(pool);
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) {
    limits.f32_gflop_s = rate(pool, f32_512, 2 * 16);
    if (__builtin_cpu_supports("avx512vnni")) limits.int8_gop_s = rate(pool, int8_512, 2 * 64);
    if (__builtin_cpu_supports("avx512bf16")) limits.bf16_gflop_s = rate(pool, bf16_512, 2 * 32);
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    limits.f32_gflop_s = rate(pool, f32_256, 2 * 8);
  }
#endif
  return limits;
}

Json share_of(double value, double limit) { return limit > 0 ? Json(value / limit) : Json(); }

Json limits_json(const MachineLimits& limits) {
  const auto known = [](double rate) { return rate > 0 ? Json(rate) : Json(); };
  return {{"read_gb_s", known(limits.read_gb_s)}, {"f32_gflop_s", known(limits.f32_gflop_s)}, {"bf16_gflop_s", known(limits.bf16_gflop_s)}, {"int8_gop_s", known(limits.int8_gop_s)}};
}

}  // namespace corvid::cli
