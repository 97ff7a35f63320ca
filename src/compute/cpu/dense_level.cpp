#include "corvid/compute/simd.hpp"
#include "cpu/dense_kernels.hpp"

namespace corvid::cpu {

const DenseKernels& dense_kernels() noexcept {
  switch (simd_level()) {
#if defined(__x86_64__)
    case SimdLevel::avx2:
    case SimdLevel::avxvnni: return kDenseAvx2;
    case SimdLevel::avx512:
    case SimdLevel::avx512vnni: return kDenseAvx512;
    case SimdLevel::avx512bf16: return kDenseAvx512Bf16;
#elif defined(__aarch64__)
    case SimdLevel::neon:
    case SimdLevel::dotprod:
    case SimdLevel::i8mm: return kDenseNeon;
#endif
    default: return kDenseScalar;
  }
}

}  // namespace corvid::cpu
