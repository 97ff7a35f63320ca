// What this machine reaches in a fraction of a second of each: so that a benchmark's figure can be seen as a share of it.
#pragma once

#include "corvid/base/json.hpp"

namespace corvid {
class ComputePool;
}

namespace corvid::cli {

/// Rates of all of a pool's threads together; 0 where the machine has no such instruction, or no memory for the probe.
struct MachineLimits {
  double read_gb_s = 0;     ///< a buffer larger than most caches, best of a few passes
  double f32_gflop_s = 0;   ///< multiply and add count as two
  double bf16_gflop_s = 0;
  double int8_gop_s = 0;
};

MachineLimits measure_limits(ComputePool& pool);

/// {"read_gb_s","f32_gflop_s","bf16_gflop_s","int8_gop_s"}, null where not known.
Json limits_json(const MachineLimits& limits);
/// value / limit, or null where the limit is not known.
Json share_of(double value, double limit);

}  // namespace corvid::cli
