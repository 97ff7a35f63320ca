#define CORVID_LANES 4
#define CORVID_TABLE kDotprodKernels
#include "cpu/kernels.inc"
