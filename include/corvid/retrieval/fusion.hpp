// Fusion: two ranked lists into one; and maximal marginal relevance.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "corvid/base/function_ref.hpp"
#include "corvid/retrieval/lexical_index.hpp"

namespace corvid {

/// How a query's scores are brought to one scale before they are mixed.
enum class Normalisation : std::uint8_t {
  min_max,  ///< (s - min) / (max - min) of the list; all equal: 1. An absent id counts 0
  z_score,  ///< (s - mean) / deviation of the list; all equal: 0. An absent id counts the list's lowest
};

struct FusedId {
  std::int64_t id = 0;
  float score = 0;
  std::optional<float> dense, lexical;                    ///< the scores given in; nullopt: not in that list
  std::optional<std::uint32_t> dense_rank, lexical_rank;  ///< from 1
};

// Lists are best first, ids distinct in a list. Results are best first, equal scores by lower id.

/// Reciprocal rank fusion: the sum of 1 / (rrf_k + rank). Cormack, Clarke & Büttcher 2009.
std::vector<FusedId> fuse_rrf(std::span<const ScoredId> dense, std::span<const ScoredId> lexical, int rrf_k = 60);

/// weight * dense + (1 - weight) * lexical of normalised scores. Bruch, Gai & Ingber 2023. `weight` is brought into [0, 1].
std::vector<FusedId> fuse_convex(std::span<const ScoredId> dense, std::span<const ScoredId> lexical, float weight = 0.5f,
                                 Normalisation normalisation = Normalisation::min_max);

/// One list alone, in the same form.
std::vector<FusedId> fuse_single(std::span<const ScoredId> list, bool is_dense);

/// Maximal marginal relevance (Carbonell & Goldstein 1998): picks k positions of `relevance` one after another, each the largest
/// lambda * relevance - (1 - lambda) * (largest similarity to those picked). `similarity(i, j)` in about the scale of the relevance.
/// Ties by lower position. k * n calls of `similarity` at most.
std::vector<std::size_t> mmr(std::span<const float> relevance, std::size_t k, float lambda,
                             FunctionRef<float(std::size_t, std::size_t)> similarity);

}  // namespace corvid
