#define CORVID_LANES 4
#define CORVID_PACKED kPackedI8mm
#include "cpu/packed_kernels.inc"
