#define CORVID_LANES 16
#define CORVID_TABLE kAvx512VnniScan
#include "cpu/scan_kernels.inc"
