// Checks the citations of an answer, and attributes what the model left uncited. The rule is stated in docs/citations.md.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/function_ref.hpp"
#include "corvid/base/result.hpp"

namespace corvid {

struct CheckedAnswer {
  std::string text;                      ///< each [n] names one of `by_model` or `by_attribution`
  std::set<int> by_model;                ///< passages that the model cited itself
  std::set<int> by_attribution;          ///< passages that only attribution found
  std::vector<std::string> unsupported;  ///< sentences without a citation of either kind
  std::vector<std::string> removed;      ///< the model's markers that named no passage
};

/// Unit vectors of texts: [texts, dimension] f32, row-major.
using EmbedTexts = FunctionRef<Result<std::vector<float>>(const std::vector<std::string_view>&)>;

/// `passages[n-1]` is what [n] means. Errors: those of `embed`.
Result<CheckedAnswer> check_citations(std::string_view answer, const std::vector<std::string_view>& passages, float threshold,
                                      EmbedTexts embed);

}  // namespace corvid
