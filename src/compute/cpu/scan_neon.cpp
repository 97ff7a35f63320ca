#define CORVID_LANES 4
#define CORVID_TABLE kNeonScan
#include "cpu/scan_kernels.inc"
