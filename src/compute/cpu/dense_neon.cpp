#define CORVID_LANES 4
#define CORVID_DENSE kDenseNeon
#include "cpu/dense_kernels.inc"
