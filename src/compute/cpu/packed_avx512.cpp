#define CORVID_LANES 16
#define CORVID_PACKED kPackedAvx512
#include "cpu/packed_kernels.inc"
