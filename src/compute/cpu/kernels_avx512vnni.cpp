#define CORVID_LANES 16
#define CORVID_TABLE kAvx512VnniKernels
#include "cpu/kernels.inc"
