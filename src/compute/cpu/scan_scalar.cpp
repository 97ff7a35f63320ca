#define CORVID_LANES 4
#define CORVID_TABLE kScalarScan
#include "cpu/scan_kernels.inc"
