#define CORVID_LANES 16
#define CORVID_PACKED kPackedAvx512Vnni
#include "cpu/packed_kernels.inc"
