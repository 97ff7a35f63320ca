// relax: what a thread does between two looks at something that another one is about to write.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace corvid {

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace corvid
