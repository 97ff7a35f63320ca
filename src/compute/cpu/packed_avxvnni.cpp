#define CORVID_LANES 8
#define CORVID_PACKED kPackedAvxVnni
#include "cpu/packed_kernels.inc"
