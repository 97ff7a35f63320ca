#define CORVID_LANES 16
#define CORVID_DENSE kDenseAvx512
#include "cpu/dense_kernels.inc"
