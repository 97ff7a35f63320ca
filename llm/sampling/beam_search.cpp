#include "llm/sampling/beam_search.hpp"

#include <algorithm>
#include <cmath>

namespace corvid::llm {
namespace {

struct Candidate { double logprob; std::size_t parent; TokenId id; float token_logprob; };

bool before(const Candidate& a, const Candidate& b) {
  if (a.logprob != b.logprob) return a.logprob > b.logprob;
  return a.parent != b.parent ? a.parent < b.parent : a.id < b.id;
}

Beam copy_of(const Beam& beam) { return {beam.tokens, beam.logprob, beam.constraint ? beam.constraint->fork() : nullptr}; }

}  // namespace

BeamSearch::BeamSearch(int width, float length_penalty, int logprobs, std::size_t longest, std::unique_ptr<TokenConstraint> constraint)
    : width_(static_cast<std::size_t>(width)), length_penalty_(length_penalty), logprobs_(logprobs), longest_(longest) {
  Beam first;
  first.constraint = std::move(constraint);
  live_.push_back(std::move(first));
}

double BeamSearch::score(double logprob, std::size_t length) const {
  return logprob / std::pow(static_cast<double>(std::max<std::size_t>(length, 1)), static_cast<double>(length_penalty_));
}

void BeamSearch::keep(Beam beam) {
  const double value = score(beam.logprob, beam.tokens.size());
  const auto place = std::find_if(hypotheses_.begin(), hypotheses_.end(), [&](const Hypothesis& h) { return h.score < value; });
  hypotheses_.insert(place, Hypothesis{value, std::move(beam)});
  if (hypotheses_.size() > width_) hypotheses_.pop_back();
}

Result<std::vector<std::size_t>> BeamSearch::advance(std::span<const std::span<const float>> rows, FunctionRef<bool(const std::vector<SampledToken>&)> ends) {
  if (rows.size() != live_.size()) return fail(Error::internal("beam search was given " + std::to_string(rows.size()) + " rows for " + std::to_string(live_.size()) + " beams"));
  std::vector<Candidate> candidates;
  std::vector<LogprobRow> tops(rows.size());
  for (std::size_t b = 0; b < rows.size(); ++b) {
    std::vector<bool> allowed;
    if (live_[b].constraint) {
      allowed.assign(rows[b].size(), false);
      CORVID_TRY_STATUS(live_[b].constraint->mask(allowed));
    }
    // Masked tokens have no part in the choice; log probabilities stay those of the whole row.
    const std::size_t wanted = allowed.empty() ? std::min(2 * width_, rows[b].size()) : rows[b].size();
    CORVID_TRY(auto row, row_logprobs(rows[b], static_cast<int>(wanted), {}));
    std::size_t taken = 0;
    for (const auto& token : row.top) {
      if (!allowed.empty() && !allowed[static_cast<std::size_t>(token.id)]) continue;
      if (taken++ == 2 * width_) break;
      candidates.push_back({live_[b].logprob + token.logprob, b, token.id, token.logprob});
    }
    if (logprobs_ >= 0) {
      CORVID_TRY(tops[b], row_logprobs(rows[b], logprobs_, {}));
    }
  }
  std::sort(candidates.begin(), candidates.end(), before);
  if (candidates.size() > 2 * width_) candidates.resize(2 * width_);

  std::vector<Beam> next;
  std::vector<std::size_t> parents;
  for (std::size_t rank = 0; rank < candidates.size() && next.size() < width_; ++rank) {
    const Candidate& c = candidates[rank];
    Beam beam = copy_of(live_[c.parent]);
    SampledToken token;
    token.id = c.id;
    if (logprobs_ >= 0) {
      token.logprob = c.token_logprob;
      token.top_logprobs = tops[c.parent].top;
    }
    beam.tokens.push_back(std::move(token));
    beam.logprob = c.logprob;
    if (beam.constraint) CORVID_TRY_STATUS(beam.constraint->advance(c.id));
    if (ends(beam.tokens)) {
      if (rank < width_) keep(std::move(beam));
      continue;
    }
    next.push_back(std::move(beam));
    parents.push_back(c.parent);
  }
  const std::size_t length = live_.front().tokens.size() + 1;
  live_ = std::move(next);
  if (length >= longest_ || live_.empty()) {
    for (auto& beam : live_) keep(std::move(beam));
    live_.clear();
    if (hypotheses_.empty()) return fail(Error::internal("beam search has no continuation left"));
    return std::vector<std::size_t>();
  }
  if (hypotheses_.size() == width_ && score(live_.front().logprob, length) <= hypotheses_.back().score) {
    live_.clear();
    return std::vector<std::size_t>();
  }
  return parents;
}

}  // namespace corvid::llm
