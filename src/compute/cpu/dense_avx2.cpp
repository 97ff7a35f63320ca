#define CORVID_LANES 8
#define CORVID_DENSE kDenseAvx2
#include "cpu/dense_kernels.inc"
