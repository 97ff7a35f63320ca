// The inner loops of exact search, one table an instruction set, compiled from scan_kernels.inc.
//
// A row's score has one definition, `score`, whose sum depends on the dimension alone. Large batches first pass a screen: 8-bit codes of
// rows and queries and, for each row and query, a proven bound on how far the codes' product can lie below the score. Only rows that
// may be among the best are scored, so a screen changes the time a search takes and never its result.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corvid::cpu {

/// Rows that the scan looks at together: one word of the bitmap.
inline constexpr std::size_t kScanRows = 64;

/// Codes of up to kScanRows rows; absent rows have zeros.
struct ScreenedRows {
  std::uint8_t* codes;       // [ceil(d / 4), kScanRows, 4]: code + 128
  float scale[kScanRows];    // element = scale * code
  float norm[kScanRows];     // |row|
  float error[kScanRows];    // |row - scale * codes|
};

/// Codes of one query, and what the bound needs of it.
struct ScreenedQuery {
  const std::int8_t* codes;  // [ceil(d / 4) * 4]
  float scale;
  std::int32_t offset;       // -128 * sum of the codes
  float by_norm;             // the bound is norm * by_norm + error * by_error
  float by_error;
};

struct ScanTable {
  /// out[q * kScanRows + i] = queries[q] · rows[i], rows f16 when half.
  void (*score)(const float* const* queries, std::size_t n_queries, const void* const* rows, std::size_t count, bool half, std::size_t d, float* out);
  /// Bit i: !(scores[i] < floor), of `count` scores.
  std::uint64_t (*reaches)(const float* scores, std::size_t count, float floor);
  /// The screen; null where the instruction set has no 8-bit products that pay.
  void (*screen_rows)(const void* const* rows, std::size_t count, bool half, std::size_t d, ScreenedRows* out);
  void (*screen_query)(const float* query, std::size_t d, std::int8_t* codes, ScreenedQuery* out);
  /// masks[q] bit i: row i's score may reach floors[q].
  void (*screen)(const ScreenedRows& rows, const ScreenedQuery* queries, const float* floors, std::size_t n_queries, std::size_t d, std::uint64_t* masks);
};

/// The table of the SIMD level in use.
const ScanTable& scan_kernels() noexcept;

extern const ScanTable kScalarScan;
extern const ScanTable kAvx2Scan;
extern const ScanTable kAvx512Scan;
extern const ScanTable kAvx512VnniScan;
extern const ScanTable kNeonScan;

}  // namespace corvid::cpu
