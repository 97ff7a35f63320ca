#define CORVID_LANES 16
#define CORVID_TABLE kAvx512Scan
#include "cpu/scan_kernels.inc"
