#include "cpu/simd_level.hpp"

#include <atomic>
#include <cstdlib>

#include "cpu/kernels.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace corvid {

namespace {

#if defined(__x86_64__)
// Not every compiler's __builtin_cpu_supports() knows this one.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 29)) != 0;
}
#endif

#if defined(__x86_64__)
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}
#endif

bool has(SimdLevel level) {
  if (level == SimdLevel::scalar) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  switch (level) {
    case SimdLevel::avx2: return avx2;
    case SimdLevel::avxvnni: return avx2 && has_avx_vnni();
    case SimdLevel::avx512: return avx512;
    case SimdLevel::avx512vnni: return vnni;
    case SimdLevel::avx512bf16: return vnni && __builtin_cpu_supports("avx512bf16");
    default: return false;
  }
#elif defined(__aarch64__)
  constexpr unsigned long kAsimdHp = 1ul << 10, kAsimdDp = 1ul << 20, kI8mm = 1ul << 13;  // HWCAP and HWCAP2 bits of the Linux arm64 ABI
  const unsigned long caps = getauxval(AT_HWCAP);
  const bool dotprod = (caps & kAsimdHp) && (caps & kAsimdDp);
  switch (level) {
    case SimdLevel::neon: return true;
    case SimdLevel::dotprod: return dotprod;
    case SimdLevel::i8mm: return dotprod && (getauxval(AT_HWCAP2) & kI8mm);
    default: return false;
  }
#else
  return false;
#endif
}

constexpr SimdLevel kLevels[] = {SimdLevel::scalar,     SimdLevel::avx2, SimdLevel::avxvnni, SimdLevel::avx512, SimdLevel::avx512vnni,
                                 SimdLevel::avx512bf16, SimdLevel::neon, SimdLevel::dotprod, SimdLevel::i8mm};

const cpu::KernelTable& table_of(SimdLevel level) {
  switch (level) {
#if defined(__x86_64__)
    case SimdLevel::avx2:
    case SimdLevel::avxvnni: return cpu::kAvx2Kernels;
    case SimdLevel::avx512: return cpu::kAvx512Kernels;
    case SimdLevel::avx512vnni: return cpu::kAvx512VnniKernels;
    case SimdLevel::avx512bf16: return cpu::kAvx512Bf16Kernels;
#elif defined(__aarch64__)
    case SimdLevel::neon: return cpu::kNeonKernels;
    case SimdLevel::dotprod:
    case SimdLevel::i8mm: return cpu::kDotprodKernels;
#endif
    default: return cpu::kScalarKernels;
  }
}

// An Emerald Rapids core takes vdpbf16ps at a quarter of the rate of an f32 multiply-add (measured: 40 against 82 GFLOP/s a thread): f32 is
// then both faster and more exact. AMD's Zen 5 takes both at one rate.
bool worth_choosing(SimdLevel level) {
#if defined(__x86_64__)
  if (level == SimdLevel::avx512bf16) return __builtin_cpu_is("amd");
#endif
  static_cast<void>(level);
  return true;
}

struct Choice {
  SimdLevel level = SimdLevel::scalar;
  bool ignored = false;
};

Choice choose() {
  Choice choice;
  const char* asked = std::getenv("CORVID_SIMD");
  choice.ignored = asked && *asked;
  for (SimdLevel level : kLevels) {
    if (!has(level)) continue;
    if (worth_choosing(level)) choice.level = level;
    if (asked && to_string(level) == asked) {
      choice.level = level;
      choice.ignored = false;
      return choice;
    }
  }
  return choice;
}

const Choice& choice() {
  static const Choice made = choose();
  return made;
}

struct Current {
  std::atomic<SimdLevel> level;
  std::atomic<const cpu::KernelTable*> table;
};
Current& current() {
  static Current state{choice().level, &table_of(choice().level)};
  return state;
}

}  // namespace

std::string_view to_string(SimdLevel level) noexcept {
  switch (level) {
    case SimdLevel::scalar: return "scalar";
    case SimdLevel::avx2: return "avx2";
    case SimdLevel::avxvnni: return "avxvnni";
    case SimdLevel::avx512: return "avx512";
    case SimdLevel::avx512vnni: return "avx512vnni";
    case SimdLevel::avx512bf16: return "avx512bf16";
    case SimdLevel::neon: return "neon";
    case SimdLevel::dotprod: return "dotprod";
    case SimdLevel::i8mm: return "i8mm";
  }
  return "scalar";
}

SimdLevel simd_level() noexcept { return current().level.load(); }
bool simd_request_ignored() noexcept { return choice().ignored; }

std::vector<SimdLevel> available_simd_levels() {
  std::vector<SimdLevel> levels;
  for (SimdLevel level : kLevels) {
    if (has(level)) levels.push_back(level);
  }
  return levels;
}

namespace cpu {

const KernelTable& kernels() noexcept { return *current().table.load(std::memory_order_acquire); }

void override_simd_level(SimdLevel level) noexcept {
  current().level = level;
  current().table = &table_of(level);
}

}  // namespace cpu

}  // namespace corvid
