#define CORVID_LANES 4
#define CORVID_TABLE kNeonKernels
#include "cpu/kernels.inc"
