#define CORVID_LANES 8
#define CORVID_TABLE kAvx2Scan
#include "cpu/scan_kernels.inc"
