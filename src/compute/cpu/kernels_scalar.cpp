#define CORVID_LANES 4
#define CORVID_TABLE kScalarKernels
#include "cpu/kernels.inc"
