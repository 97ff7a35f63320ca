#define CORVID_LANES 4
#define CORVID_PACKED kPackedScalar
#include "cpu/packed_kernels.inc"
