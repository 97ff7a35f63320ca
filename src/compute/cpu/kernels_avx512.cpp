#define CORVID_LANES 16
#define CORVID_TABLE kAvx512Kernels
#include "cpu/kernels.inc"
