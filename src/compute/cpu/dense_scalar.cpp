#define CORVID_LANES 4
#define CORVID_DENSE kDenseScalar
#include "cpu/dense_kernels.inc"
