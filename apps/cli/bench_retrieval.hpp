// bench retrieval: nDCG@10, recall@100 and speed on a BEIR data set (Thakur et al. 2021).
#pragma once

#include <string>

#include "apps/cli/models.hpp"
#include "corvid/base/result.hpp"

namespace corvid::cli {

class Session;

struct RetrievalBench {
  std::string folder, mode = "hybrid", embedder = kDefaultEmbedder, fusion = "convex", split = "test";
  double convex_weight = 0.5;
};

Status bench_retrieval(Session& session, const RetrievalBench& bench, const ComputeOptions& compute);

}  // namespace corvid::cli
