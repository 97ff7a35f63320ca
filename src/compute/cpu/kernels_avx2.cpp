#define CORVID_LANES 8
#define CORVID_TABLE kAvx2Kernels
#include "cpu/kernels.inc"
