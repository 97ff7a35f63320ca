// BeirData: a data set in BEIR's layout, read whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/result.hpp"

namespace corvid::retrieval {

struct BeirText { std::string id, text; };

struct BeirData {
  std::vector<BeirText> documents;                                    ///< title, a space, text
  std::vector<BeirText> queries;                                      ///< those of the judgements, in their file's order
  std::map<std::string, std::map<std::string, int>> judgements;       ///< query, document, grade

  /// Errors: not_found, bad_input (file, line's byte offset).
  static Result<BeirData> read(const std::filesystem::path& folder, const std::string& split, const CancellationToken& cancellation);
};

/// Discounted gain of the first ten over that of the best order. Järvelin & Kekäläinen 2002: gain = grade, discount log2(rank + 1).
double ndcg_at_10(const std::vector<std::string>& ranked, const std::map<std::string, int>& grades);
/// The share of a query's relevant documents (grade > 0) among the first hundred.
double recall_at_100(const std::vector<std::string>& ranked, const std::map<std::string, int>& grades);

}  // namespace corvid::retrieval
