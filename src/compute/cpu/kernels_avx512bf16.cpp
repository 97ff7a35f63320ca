#define CORVID_LANES 16
#define CORVID_TABLE kAvx512Bf16Kernels
#include "cpu/kernels.inc"
