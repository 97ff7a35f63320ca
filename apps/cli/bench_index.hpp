// bench index: exact search over generated unit vectors, queries a second, and recall against f32.
#pragma once

#include <cstdint>
#include <string>

#include "apps/cli/models.hpp"
#include "corvid/base/result.hpp"

namespace corvid::cli {

class Session;

struct IndexBench {
  std::int64_t vectors = 100000, dims = 384, batch = 1, k = 10;
  std::string storage = "f32";
};

Status bench_index(Session& session, const IndexBench& bench, std::int64_t runs, const ComputeOptions& compute);

}  // namespace corvid::cli
