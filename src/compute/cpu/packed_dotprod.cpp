#define CORVID_LANES 4
#define CORVID_PACKED kPackedDotprod
#include "cpu/packed_kernels.inc"
