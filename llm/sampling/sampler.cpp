#include "llm/sampling/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <unordered_map>

namespace corvid::llm {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

Status out_of_range(const char* name, double value, const char* range) {
  return fail(Error::invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be " + range).at_key(name));
}

// Best first; equal values by lower id, so that every order below is total and the same everywhere.
struct BestFirst {
  template <class C>
  bool operator()(const C& a, const C& b) const noexcept {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
};

// Sorts the shortest front of `items` whose weights reach `mass`, doubling what is sorted: vocabularies are large and nuclei small.
// Returns the length of that front (at least 1).
template <class It, class Less>
std::size_t sorted_front(It begin, std::size_t count, double mass, Less less) {
  double sum = 0;
  std::size_t done = 0;
  for (std::size_t step = 64; done < count; step *= 4) {
    const std::size_t end = std::min(count, done + step);
    std::partial_sort(begin + static_cast<std::ptrdiff_t>(done), begin + static_cast<std::ptrdiff_t>(end),
                      begin + static_cast<std::ptrdiff_t>(count), less);
    for (; done < end; ++done) {
      sum += begin[static_cast<std::ptrdiff_t>(done)].weight;
      if (sum >= mass) return done + 1;
    }
  }
  return count;
}

// The best logit; an error when the row cannot be a distribution.
Result<float> check_row(std::span<const float> logits) {
  float best = kNever;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float x = logits[i];
    if (std::isnan(x) || x == std::numeric_limits<float>::infinity()) {
      return fail(Error::internal("the model's logit of token " + std::to_string(i) + " is " + (std::isnan(x) ? "NaN" : "+inf") +
                                  "; the weights are damaged or an operation overflowed"));
    }
    best = std::max(best, x);
  }
  if (best == kNever) return fail(Error::internal("no token has a finite logit"));
  return best;
}

double log_sum_exp(std::span<const float> logits, float best) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - best);
  return std::log(sum) + best;
}

}  // namespace

Status validate(const SamplingParams& p, std::int64_t vocab) {
  if (vocab <= 0 || vocab > std::numeric_limits<TokenId>::max()) return out_of_range("vocab", static_cast<double>(vocab), "1 … 2^31 - 1");
  if (!(p.temperature >= 0 && std::isfinite(p.temperature))) return out_of_range("temperature", p.temperature, "finite and at least 0");
  if (p.top_k < 0) return out_of_range("top_k", p.top_k, "at least 0 (0 is off)");
  if (!(p.top_p > 0 && p.top_p <= 1)) return out_of_range("top_p", p.top_p, "above 0 and at most 1");
  if (!(p.min_p >= 0 && p.min_p < 1)) return out_of_range("min_p", p.min_p, "at least 0 and below 1");
  if (!(p.typical_p > 0 && p.typical_p <= 1)) return out_of_range("typical_p", p.typical_p, "above 0 and at most 1");
  if (!(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty))) {
    return out_of_range("repetition_penalty", p.repetition_penalty, "finite and above 0");
  }
  if (!std::isfinite(p.presence_penalty)) return out_of_range("presence_penalty", p.presence_penalty, "finite");
  if (!std::isfinite(p.frequency_penalty)) return out_of_range("frequency_penalty", p.frequency_penalty, "finite");
  if (p.penalty_window < -1) return out_of_range("penalty_window", p.penalty_window, "-1 (all) or at least 0");
  if (p.logprobs < -1 || p.logprobs > vocab) return out_of_range("logprobs", p.logprobs, "-1 (off) … the vocabulary's size");
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || id >= vocab) return out_of_range("logit_bias token", id, "an id of the vocabulary");
    // -inf forbids a token; +inf and NaN have no meaning as a logit.
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) return out_of_range("logit_bias", bias, "finite or -inf");
  }
  return {};
}

Result<LogprobRow> row_logprobs(std::span<const float> logits, int k, std::span<const TokenId> chosen) {
  CORVID_TRY(const float best, check_row(logits));
  const double norm = log_sum_exp(logits, best);
  LogprobRow row;
  for (const TokenId id : chosen) {
    if (id < 0 || static_cast<std::size_t>(id) >= logits.size()) {
      return fail(Error::invalid_argument("token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(logits.size())));
    }
    row.chosen.push_back(static_cast<float>(logits[static_cast<std::size_t>(id)] - norm));
  }
  const std::size_t want = std::min<std::size_t>(static_cast<std::size_t>(std::max(k, 0)), logits.size());
  if (want == 0) return row;
  struct Item { TokenId id; float logit; };
  std::vector<Item> heap;  // the `want` best so far, the worst of them in front
  heap.reserve(want + 1);
  const BestFirst better;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const Item item{static_cast<TokenId>(i), logits[i]};
    if (heap.size() == want && !better(item, heap.front())) continue;
    heap.push_back(item);
    std::push_heap(heap.begin(), heap.end(), better);
    if (heap.size() > want) {
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.pop_back();
    }
  }
  std::sort(heap.begin(), heap.end(), better);
  for (const Item& item : heap) row.top.push_back({item.id, static_cast<float>(item.logit - norm)});
  return row;
}

Sampler::Sampler(SamplingParams params, std::int64_t vocab, std::uint64_t counter)
    : params_(std::move(params)), vocab_(vocab), random_(params_.seed, counter) {}

Result<Sampler> Sampler::make(const SamplingParams& params, std::int64_t vocab) {
  CORVID_TRY_STATUS(validate(params, vocab));
  return Sampler(params, vocab, 0);
}

Status Sampler::set_vocab(std::int64_t vocab) {
  CORVID_TRY_STATUS(validate(params_, vocab));
  vocab_ = vocab;
  return {};
}

void Sampler::penalise(std::span<float> logits, std::span<const TokenId> history) {
  const SamplingParams& p = params_;
  if (p.repetition_penalty == 1.0f && p.presence_penalty == 0.0f && p.frequency_penalty == 0.0f) return;
  if (p.penalty_window >= 0 && history.size() > static_cast<std::size_t>(p.penalty_window)) {
    history = history.last(static_cast<std::size_t>(p.penalty_window));
  }
  std::unordered_map<TokenId, std::uint32_t> seen;
  for (const TokenId id : history) {
    if (id >= 0 && id < vocab_) ++seen[id];
  }
  for (const auto& [id, times] : seen) {
    float& x = logits[static_cast<std::size_t>(id)];
    x = x > 0 ? x / p.repetition_penalty : x * p.repetition_penalty;
    x -= p.presence_penalty + p.frequency_penalty * static_cast<float>(times);
  }
}

Status Sampler::constrain(std::span<float> logits, TokenConstraint& constraint) {
  allowed_.assign(logits.size(), false);
  CORVID_TRY_STATUS(constraint.mask(allowed_));
  if (allowed_.size() != logits.size()) {
    return fail(Error::internal("a constraint's mask has " + std::to_string(allowed_.size()) + " entries for a vocabulary of " +
                                std::to_string(logits.size())));
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!allowed_[i]) logits[i] = kNever;
  }
  return {};
}

TokenId Sampler::draw(std::span<const float> logits, float best) {
  const SamplingParams& p = params_;
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == kNever) continue;
    const double weight = std::exp((static_cast<double>(logits[i]) - best) / static_cast<double>(p.temperature));
    if (weight > 0) candidates_.push_back({static_cast<TokenId>(i), logits[i], weight});
  }
  std::size_t count = candidates_.size();
  const auto begin = candidates_.begin();
  const auto total = [&] {
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += candidates_[i].weight;
    return sum;
  };
  if (p.top_k > 0 && static_cast<std::size_t>(p.top_k) < count) {
    count = static_cast<std::size_t>(p.top_k);
    std::partial_sort(begin, begin + p.top_k, candidates_.end(), BestFirst{});
  }
  if (p.typical_p < 1.0f) {
    const double sum = total();
    double entropy = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double q = candidates_[i].weight / sum;
      entropy -= q * std::log(q);
    }
    const auto surprise = [&](const Candidate& c) { return std::abs(-std::log(c.weight / sum) - entropy); };
    const auto less = [&](const Candidate& a, const Candidate& b) {
      const double sa = surprise(a), sb = surprise(b);
      return sa != sb ? sa < sb : a.id < b.id;
    };
    count = sorted_front(begin, count, sum * static_cast<double>(p.typical_p), less);
  }
  if (p.top_p < 1.0f) count = sorted_front(begin, count, total() * static_cast<double>(p.top_p), BestFirst{});
  if (p.min_p > 0.0f) {
    double top = 0;
    for (std::size_t i = 0; i < count; ++i) top = std::max(top, candidates_[i].weight);
    const double least = top * static_cast<double>(p.min_p);
    const auto end = std::stable_partition(begin, begin + static_cast<std::ptrdiff_t>(count),
                                           [&](const Candidate& c) { return c.weight >= least; });
    count = static_cast<std::size_t>(end - begin);
  }
  double left = random_.uniform() * total();
  for (std::size_t i = 0; i + 1 < count; ++i) {
    left -= candidates_[i].weight;
    if (left < 0) return candidates_[i].id;
  }
  return candidates_[count - 1].id;
}

Result<SampledToken> Sampler::sample(std::span<float> logits, std::span<const TokenId> history, TokenConstraint* constraint) {
  if (static_cast<std::int64_t>(logits.size()) != vocab_) {
    return fail(Error::invalid_argument("a row of " + std::to_string(logits.size()) + " logits was given to a sampler of " +
                                        std::to_string(vocab_) + " tokens"));
  }
  CORVID_TRY(const float raw_best, check_row(logits));
  SampledToken out;
  std::vector<float> raw;  // only where log probabilities are asked for: the row is overwritten below
  double norm = 0;
  if (params_.logprobs >= 0) {
    raw.assign(logits.begin(), logits.end());
    norm = log_sum_exp(raw, raw_best);
    CORVID_TRY(auto row, row_logprobs(raw, params_.logprobs, {}));
    out.top_logprobs = std::move(row.top);
  }
  for (const auto& [id, bias] : params_.logit_bias) logits[static_cast<std::size_t>(id)] += bias;
  penalise(logits, history);
  if (constraint) CORVID_TRY_STATUS(constrain(logits, *constraint));
  std::size_t best = logits.size();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != kNever && (best == logits.size() || logits[i] > logits[best])) best = i;
  }
  if (best == logits.size()) return fail(Error::internal("bias and constraint leave no token to draw"));
  out.id = params_.temperature == 0 ? static_cast<TokenId>(best) : draw(logits, logits[best]);
  if (params_.logprobs >= 0) out.logprob = static_cast<float>(raw[static_cast<std::size_t>(out.id)] - norm);
  if (constraint) CORVID_TRY_STATUS(constraint->advance(out.id));
  return out;
}

}  // namespace corvid::llm
