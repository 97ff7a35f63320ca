#define CORVID_LANES 4
#define CORVID_PACKED kPackedNeon
#include "cpu/packed_kernels.inc"
