#include "corvid/retrieval/fusion.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace corvid {
namespace {

// The union of both lists with each side's score and rank.
std::vector<FusedId> merge(std::span<const ScoredId> dense, std::span<const ScoredId> lexical) {
  std::vector<FusedId> out;
  out.reserve(dense.size() + lexical.size());
  std::unordered_map<std::int64_t, std::size_t> at;
  const auto entry = [&](std::int64_t id) -> FusedId& {
    const auto [place, fresh] = at.try_emplace(id, out.size());
    if (fresh) out.emplace_back().id = id;
    return out[place->second];
  };
  for (std::size_t i = 0; i < dense.size(); ++i) {
    FusedId& hit = entry(dense[i].id);
    hit.dense = dense[i].score;
    hit.dense_rank = static_cast<std::uint32_t>(i + 1);
  }
  for (std::size_t i = 0; i < lexical.size(); ++i) {
    FusedId& hit = entry(lexical[i].id);
    hit.lexical = lexical[i].score;
    hit.lexical_rank = static_cast<std::uint32_t>(i + 1);
  }
  return out;
}

void order(std::vector<FusedId>& hits) {
  std::sort(hits.begin(), hits.end(), [](const FusedId& a, const FusedId& b) { return a.score != b.score ? a.score > b.score : a.id < b.id; });
}

// Maps one list's scores to the common scale; nullopt to what an absent id counts.
class Scale {
 public:
  Scale(std::span<const ScoredId> list, Normalisation normalisation) {
    if (list.empty()) return;
    double low = std::numeric_limits<double>::infinity(), high = -low, sum = 0, squares = 0;
    for (const auto& hit : list) {
      const double s = static_cast<double>(hit.score);
      low = std::min(low, s);
      high = std::max(high, s);
      sum += s;
    }
    const double mean = sum / static_cast<double>(list.size());
    for (const auto& hit : list) squares += (static_cast<double>(hit.score) - mean) * (static_cast<double>(hit.score) - mean);
    const bool z = normalisation == Normalisation::z_score;
    origin_ = z ? mean : low;
    width_ = z ? std::sqrt(squares / static_cast<double>(list.size())) : high - low;
    flat_ = z ? 0.0 : 1.0;
    absent_ = z ? (width_ > 0 ? (low - mean) / width_ : 0.0) : 0.0;
  }
  double operator()(const std::optional<float>& score) const {
    if (!score) return absent_;
    return width_ > 0 ? (static_cast<double>(*score) - origin_) / width_ : flat_;
  }

 private:
  double origin_ = 0, width_ = 0, flat_ = 0, absent_ = 0;
};

}  // namespace

std::vector<FusedId> fuse_rrf(std::span<const ScoredId> dense, std::span<const ScoredId> lexical, int rrf_k) {
  auto hits = merge(dense, lexical);
  const double k = static_cast<double>(std::max(rrf_k, 0));
  for (auto& hit : hits) {
    double score = 0;
    if (hit.dense_rank) score += 1.0 / (k + *hit.dense_rank);
    if (hit.lexical_rank) score += 1.0 / (k + *hit.lexical_rank);
    hit.score = static_cast<float>(score);
  }
  order(hits);
  return hits;
}

std::vector<FusedId> fuse_convex(std::span<const ScoredId> dense, std::span<const ScoredId> lexical, float weight, Normalisation normalisation) {
  auto hits = merge(dense, lexical);
  const double w = std::isnan(weight) ? 0.5 : static_cast<double>(std::clamp(weight, 0.0f, 1.0f));
  const Scale dense_scale(dense, normalisation), lexical_scale(lexical, normalisation);
  for (auto& hit : hits) hit.score = static_cast<float>(w * dense_scale(hit.dense) + (1 - w) * lexical_scale(hit.lexical));
  order(hits);
  return hits;
}

std::vector<FusedId> fuse_single(std::span<const ScoredId> list, bool is_dense) {
  auto hits = is_dense ? merge(list, {}) : merge({}, list);
  for (auto& hit : hits) hit.score = is_dense ? *hit.dense : *hit.lexical;
  order(hits);
  return hits;
}

std::vector<std::size_t> mmr(std::span<const float> relevance, std::size_t k, float lambda,
                             FunctionRef<float(std::size_t, std::size_t)> similarity) {
  const std::size_t n = relevance.size();
  std::vector<float> nearest(n, 0.0f);  // largest similarity to what was picked
  std::vector<bool> taken(n, false);
  std::vector<std::size_t> picked;
  while (picked.size() < std::min(k, n)) {
    std::size_t best = n;
    float best_value = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (taken[i]) continue;
      const float value = lambda * relevance[i] - (picked.empty() ? 0.0f : (1 - lambda) * nearest[i]);
      if (best == n || value > best_value) {
        best = i;
        best_value = value;
      }
    }
    taken[best] = true;
    const bool first = picked.empty();
    picked.push_back(best);
    for (std::size_t i = 0; i < n; ++i) {
      if (taken[i]) continue;
      const float s = similarity(i, best);
      nearest[i] = first ? s : std::max(nearest[i], s);
    }
  }
  return picked;
}

}  // namespace corvid
