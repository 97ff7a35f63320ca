#define CORVID_LANES 8
#define CORVID_PACKED kPackedAvx2
#include "cpu/packed_kernels.inc"
