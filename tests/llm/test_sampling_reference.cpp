// The sampler against a reference that is slow and plain: every parameter alone, then all of them mixed, with and without a constraint.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "llm/sampling/random.hpp"
#include "llm/sampling/sampler.hpp"
#include "llm/sampling/stop_matcher.hpp"
#include "support/catch.hpp"

using namespace corvid;
using llm::Sampler;

namespace {

using Row = std::vector<float>;
using Ids = std::vector<TokenId>;

// Probabilities of all tokens; 0 for those that cannot be drawn. Written from the text at SamplingParams, step by step.
std::vector<double> reference(Row logits, const SamplingParams& p, const Ids& history, const std::vector<bool>& allowed) {
  const std::size_t n = logits.size();
  for (const auto& [id, bias] : p.logit_bias) logits[static_cast<std::size_t>(id)] += bias;
  Ids window = history;
  if (p.penalty_window >= 0 && window.size() > static_cast<std::size_t>(p.penalty_window)) window.erase(window.begin(), window.end() - p.penalty_window);
  for (std::size_t i = 0; i < n; ++i) {
    const auto times = std::count(window.begin(), window.end(), static_cast<TokenId>(i));
    if (times == 0) continue;
    if (logits[i] > 0) logits[i] /= p.repetition_penalty;
    else logits[i] *= p.repetition_penalty;
    logits[i] -= p.presence_penalty + p.frequency_penalty * static_cast<float>(times);
  }
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < n; ++i) {
    if (allowed[i] && std::isfinite(logits[i])) kept.push_back(i);
  }
  const auto best_first = [&](std::size_t a, std::size_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  std::sort(kept.begin(), kept.end(), best_first);
  std::vector<double> out(n);
  if (p.temperature == 0) {
    out[kept.front()] = 1;
    return out;
  }
  const auto best = static_cast<double>(logits[kept.front()]);
  const auto weight = [&](std::size_t i) { return std::exp((static_cast<double>(logits[i]) - best) / static_cast<double>(p.temperature)); };
  const auto total = [&] { return std::accumulate(kept.begin(), kept.end(), 0.0, [&](double sum, std::size_t i) { return sum + weight(i); }); };
  const auto keep_mass = [&](double part) {  // the shortest front whose probability reaches `part`
    const double sum = total();
    double mass = 0;
    std::size_t count = 0;
    while (count < kept.size() && mass < part * sum) mass += weight(kept[count++]);
    kept.resize(std::max<std::size_t>(count, 1));
  };
  if (p.top_k > 0 && static_cast<std::size_t>(p.top_k) < kept.size()) kept.resize(static_cast<std::size_t>(p.top_k));
  if (p.typical_p < 1) {
    const double sum = total();
    double entropy = 0;
    for (const std::size_t i : kept) entropy -= weight(i) / sum * std::log(weight(i) / sum);
    const auto distance = [&](std::size_t i) { return std::abs(-std::log(weight(i) / sum) - entropy); };
    std::sort(kept.begin(), kept.end(), [&](std::size_t a, std::size_t b) { return distance(a) != distance(b) ? distance(a) < distance(b) : a < b; });
    keep_mass(static_cast<double>(p.typical_p));
    std::sort(kept.begin(), kept.end(), best_first);
  }
  if (p.top_p < 1) keep_mass(static_cast<double>(p.top_p));
  if (p.min_p > 0) {
    const double least = weight(kept.front()) * static_cast<double>(p.min_p);
    kept.erase(std::remove_if(kept.begin(), kept.end(), [&](std::size_t i) { return weight(i) < least; }), kept.end());
  }
  const double sum = total();
  for (const std::size_t i : kept) out[i] = weight(i) / sum;
  return out;
}

Row random_row(std::size_t vocab, double spread, std::uint64_t seed) {
  llm::Random random(seed);
  Row row(vocab);
  for (float& x : row) x = static_cast<float>(spread * (random.uniform() + random.uniform() + random.uniform() - 1.5));
  return row;
}

// Draws `times` tokens from the same row; what cannot be drawn never is, and frequencies are those of the reference.
void expect_reference(const Row& row, const SamplingParams& params, const Ids& history = {}, int times = 4000) {
  const auto wanted = reference(row, params, history, std::vector<bool>(row.size(), true));
  auto sampler = Sampler::make(params, static_cast<std::int64_t>(row.size()));
  REQUIRE(sampler.has_value());
  std::vector<double> seen(row.size());
  for (int i = 0; i < times; ++i) {
    Row logits = row;
    const auto token = sampler->sample(logits, history, nullptr);
    if (!token) FAIL(token.error().describe());
    seen[static_cast<std::size_t>(token->id)] += 1.0 / times;
  }
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (wanted[i] == 0 && seen[i] > 0) {
      CAPTURE(i, seen[i]);
      FAIL("a token was drawn that the parameters exclude");
    }
    // Five standard deviations of a frequency, and a few draws where that is less than one.
    const double margin = 5 * std::sqrt(wanted[i] * (1 - wanted[i]) / times) + 3.0 / times;
    if (std::abs(seen[i] - wanted[i]) > margin) {
      CAPTURE(i, seen[i], wanted[i]);
      FAIL("a token's frequency is not its probability");
    }
  }
}

SamplingParams warm(std::uint64_t seed) {
  SamplingParams params;
  params.temperature = 1;
  params.seed = seed;
  return params;
}

// Token ids modulo `classes` must go round: 0, 1, 2, 0, …
class RoundRobin final : public TokenConstraint {
 public:
  explicit RoundRobin(int classes, int next = 0) : classes_(classes), next_(next) {}
  Status mask(std::vector<bool>& allowed) override {
    for (std::size_t i = 0; i < allowed.size(); ++i) allowed[i] = static_cast<int>(i) % classes_ == next_;
    return {};
  }
  Status advance(TokenId id) override {
    if (id % classes_ != next_) return fail(Error::invalid_argument("token " + std::to_string(id) + " is not of class " + std::to_string(next_)));
    next_ = (next_ + 1) % classes_;
    return {};
  }
  std::unique_ptr<TokenConstraint> fork() const override { return std::make_unique<RoundRobin>(*this); }
  std::vector<std::byte> save() const override { return {static_cast<std::byte>(next_)}; }

 private:
  int classes_, next_;
};

// Fails or misbehaves in the way that it is told to.
class Broken final : public TokenConstraint {
 public:
  enum class How { nothing_allowed, wrong_size, mask_fails, advance_fails };
  explicit Broken(How how) : how_(how) {}
  Status mask(std::vector<bool>& allowed) override {
    if (how_ == How::mask_fails) return fail(Error::internal("no way on"));
    if (how_ == How::wrong_size) allowed.resize(allowed.size() + 1);
    allowed.assign(allowed.size(), how_ != How::nothing_allowed);
    return {};
  }
  Status advance(TokenId) override { return how_ == How::advance_fails ? Status(fail(Error::invalid_argument("not this one"))) : Status(); }
  std::unique_ptr<TokenConstraint> fork() const override { return std::make_unique<Broken>(how_); }
  std::vector<std::byte> save() const override { return {}; }

 private:
  How how_;
};

}  // namespace

TEST_CASE("sampling: each parameter alone is as the reference has it") {
  const Ids history = {3, 7, 7, 1, 30, 3, 7};
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const Row row = random_row(40, 4, seed);
    for (const float temperature : {0.0f, 0.3f, 1.0f, 2.5f}) {
      auto params = warm(seed);
      params.temperature = temperature;
      expect_reference(row, params);
    }
    const auto with = [&](auto change, const Ids& seen = {}) {
      auto params = warm(seed);
      change(params);
      expect_reference(row, params, seen);
    };
    for (const int k : {1, 2, 10, 40, 1000}) with([&](auto& p) { p.top_k = k; });
    for (const float part : {0.01f, 0.3f, 0.9f, 0.999f}) {
      with([&](auto& p) { p.top_p = part; });
      with([&](auto& p) { p.typical_p = part; });
      with([&](auto& p) { p.min_p = part; });
    }
    for (const float penalty : {0.5f, 1.2f, 5.0f}) with([&](auto& p) { p.repetition_penalty = penalty; }, history);
    for (const float penalty : {-1.0f, 0.7f, 3.0f}) {
      with([&](auto& p) { p.presence_penalty = penalty; }, history);
      with([&](auto& p) { p.frequency_penalty = penalty; }, history);
    }
    for (const int window : {0, 1, 3, 100}) {
      with([&](auto& p) { p.penalty_window = window; p.frequency_penalty = 2; }, history);
    }
    with([&](auto& p) { p.logit_bias = {{0, 3.0f}, {5, -3.0f}, {9, -std::numeric_limits<float>::infinity()}}; });
  }
}

TEST_CASE("sampling: all parameters mixed are as the reference has them") {
  for (std::uint64_t seed = 1; seed <= 120; ++seed) {
    llm::Random random(seed * 1000);
    const auto pick = [&](std::initializer_list<float> from) { return from.begin()[random.bits() % from.size()]; };
    auto params = warm(seed);
    params.temperature = pick({0, 0.5f, 1, 1.7f});
    params.top_k = static_cast<int>(pick({0, 3, 12}));
    params.typical_p = pick({1, 0.9f, 0.5f});
    params.top_p = pick({1, 0.95f, 0.6f});
    params.min_p = pick({0, 0.02f, 0.2f});
    params.repetition_penalty = pick({1, 1.3f, 0.8f});
    params.presence_penalty = pick({0, 0.5f, -0.5f});
    params.frequency_penalty = pick({0, 0.3f});
    params.penalty_window = static_cast<int>(pick({-1, 4}));
    if (random.bits() % 2) params.logit_bias = {{2, 1.5f}, {4, -1.5f}};
    Ids history;
    for (int i = 0; i < 12; ++i) history.push_back(static_cast<TokenId>(random.bits() % 30));
    expect_reference(random_row(30, 4, seed), params, history, 2000);
  }
}

TEST_CASE("sampling: a large, nearly flat vocabulary, where the nucleus is long") {
  const Row row = random_row(3000, 0.2, 5);
  const auto support = [&](const SamplingParams& params) {
    const auto wanted = reference(row, params, {}, std::vector<bool>(row.size(), true));
    auto sampler = std::move(*Sampler::make(params, 3000));
    for (int i = 0; i < 400; ++i) {
      Row logits = row;
      const auto token = sampler.sample(logits, {}, nullptr);
      if (!token) FAIL(token.error().describe());
      if (wanted[static_cast<std::size_t>(token->id)] == 0) FAIL("a token was drawn that the parameters exclude");
    }
  };
  auto params = warm(3);
  params.top_p = 0.5f;
  support(params);
  params = warm(4);
  params.typical_p = 0.4f;
  support(params);
  params.top_k = 700;
  params.top_p = 0.9f;
  support(params);
}

TEST_CASE("sampling: equal logits go by the lower id; a seed fixes the draws") {
  const Row flat(10, 1.0f);
  SamplingParams params;
  auto sampler = std::move(*Sampler::make(params, 10));
  Row logits = flat;
  CHECK(sampler.sample(logits, {}, nullptr)->id == 0);
  params = warm(9);
  params.top_k = 3;
  expect_reference(flat, params);
  params = warm(9);
  params.top_p = 0.35f;  // four of ten
  expect_reference(flat, params);
  const auto draws = [&](std::uint64_t seed) {
    auto drawing = std::move(*Sampler::make(warm(seed), 10));
    Ids ids;
    for (int i = 0; i < 50; ++i) {
      Row row = flat;
      ids.push_back(drawing.sample(row, {}, nullptr)->id);
    }
    return ids;
  };
  CHECK(draws(1) == draws(1));
  CHECK(draws(1) != draws(2));
}

TEST_CASE("sampling: a constraint masks, is advanced, forks and is saved") {
  const Row row = random_row(30, 3, 11);
  auto params = warm(21);
  params.top_p = 0.9f;
  params.logprobs = 2;
  auto sampler = std::move(*Sampler::make(params, 30));
  RoundRobin constraint(3);
  const auto draw = [&](Sampler& from, TokenConstraint& under) {
    Row logits = row;
    const auto token = from.sample(logits, {}, &under);
    if (!token) FAIL(token.error().describe());
    return *token;
  };
  // What is drawn, and how often, at each of the three states.
  std::vector<std::vector<double>> seen(3, std::vector<double>(30));
  for (int i = 0; i < 6000; ++i) {
    const auto token = draw(sampler, constraint);
    if (token.id % 3 != i % 3) FAIL("a token was drawn that the constraint excludes");
    seen[static_cast<std::size_t>(i % 3)][static_cast<std::size_t>(token.id)] += 1.0 / 2000;
  }
  for (std::size_t state = 0; state < 3; ++state) {
    std::vector<bool> allowed(30);
    for (std::size_t i = 0; i < 30; ++i) allowed[i] = i % 3 == state;
    const auto wanted = reference(row, params, {}, allowed);
    for (std::size_t i = 0; i < 30; ++i) CHECK(std::abs(seen[state][i] - wanted[i]) <= 5 * std::sqrt(wanted[i] * (1 - wanted[i]) / 2000) + 1e-9);
  }
  // Log probabilities are the model's own, whatever is masked.
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x));
  const auto token = draw(sampler, constraint);
  CHECK(*token.logprob == Approx(row[static_cast<std::size_t>(token.id)] - std::log(sum)));
  CHECK(token.top_logprobs[0].id == std::max_element(row.begin(), row.end()) - row.begin());
  // Greedy takes the best of what is allowed.
  auto greedy = std::move(*Sampler::make({}, 30));
  RoundRobin fresh(3);
  const auto best = draw(greedy, fresh);
  for (std::size_t i = 0; i < 30; i += 3) CHECK(row[i] <= row[static_cast<std::size_t>(best.id)]);

  // A fork of both draws on alike, and neither moves the other.
  auto other = sampler;
  auto forked = constraint.fork();
  CHECK(forked->save() == constraint.save());
  Ids first, second, third;
  for (int i = 0; i < 100; ++i) first.push_back(draw(sampler, constraint).id);
  for (int i = 0; i < 50; ++i) second.push_back(draw(other, *forked).id);
  const auto saved = other.save();
  auto restored = Sampler::restore(saved);
  REQUIRE(restored.has_value());
  RoundRobin again(3, static_cast<int>(forked->save()[0]));  // as its factory would
  for (int i = 0; i < 50; ++i) {
    second.push_back(draw(other, *forked).id);
    third.push_back(draw(*restored, again).id);
  }
  CHECK(first == second);
  CHECK(std::equal(third.begin(), third.end(), first.begin() + 50));
  CHECK(forked->save() == constraint.save());
  CHECK(again.save() == constraint.save());
}

TEST_CASE("sampling: a constraint's failures are typed errors") {
  const auto code = [](Broken::How how) {
    auto sampler = std::move(*Sampler::make({}, 5));
    Row logits = {1, 2, 3, 4, 5};
    Broken constraint(how);
    const auto token = sampler.sample(logits, {}, &constraint);
    REQUIRE_FALSE(token.has_value());
    return token.error().code();
  };
  CHECK(code(Broken::How::nothing_allowed) == ErrorCode::internal);
  CHECK(code(Broken::How::wrong_size) == ErrorCode::internal);
  CHECK(code(Broken::How::mask_fails) == ErrorCode::internal);
  CHECK(code(Broken::How::advance_fails) == ErrorCode::invalid_argument);
  RoundRobin round(3);
  CHECK(round.advance(1).error().code() == ErrorCode::invalid_argument);
  // What a bias forbids, a constraint does not bring back.
  SamplingParams params;
  params.logit_bias = {{0, -std::numeric_limits<float>::infinity()}, {3, -std::numeric_limits<float>::infinity()}};
  auto sampler = std::move(*Sampler::make(params, 5));
  Row logits = {1, 2, 3, 4, 5};
  CHECK(sampler.sample(logits, {}, &round).error().code() == ErrorCode::internal);
}

TEST_CASE("sampling: log probabilities are a plain log-softmax's, best first") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Row row = random_row(200, 8, seed);
    row[seed] = -std::numeric_limits<float>::infinity();
    row[20 + seed] = row[40 + seed];  // a tie
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    std::vector<TokenId> order(200);
    std::iota(order.begin(), order.end(), 0);
    const auto logit = [&](TokenId id) { return row[static_cast<std::size_t>(id)]; };
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logit(a) > logit(b); });
    for (const int k : {0, 1, 5, 199, 200, 500}) {
      const Ids chosen = {3, static_cast<TokenId>(seed)};
      const auto got = llm::row_logprobs(row, k, chosen);
      REQUIRE(got.has_value());
      REQUIRE(got->top.size() == static_cast<std::size_t>(std::min(k, 200)));
      for (std::size_t i = 0; i < got->top.size(); ++i) {
        if (got->top[i].id != order[i]) FAIL("not the best first, ties by lower id");
        const double wanted = logit(order[i]) - std::log(sum);
        if (got->top[i].logprob != Approx(wanted).epsilon(1e-5) && !(std::isinf(wanted) && std::isinf(got->top[i].logprob))) FAIL("another log probability");
      }
      CHECK(got->chosen[0] == Approx(logit(3) - std::log(sum)).epsilon(1e-5));
      CHECK(std::isinf(got->chosen[1]));
    }
  }
}

TEST_CASE("sampling: stop strings are those of a plain search, however the text comes") {
  llm::Random random(77);
  const auto letters = [&](std::size_t most) {
    std::string out;
    for (std::uint64_t n = random.bits() % most + 1; n > 0; --n) out += "ab\xc3\xa9"[random.bits() % 4];
    return out;
  };
  for (int i = 0; i < 3000; ++i) {
    const std::string text = letters(30);
    std::vector<std::string> stops;
    for (std::uint64_t n = random.bits() % 3 + 1; n > 0; --n) stops.push_back(letters(4));
    // The stop string that is complete first; of these, the longest.
    std::size_t end = std::string::npos, begin = std::string::npos;
    for (const auto& stop : stops) {
      const std::size_t at = text.find(stop);
      if (at == std::string::npos) continue;
      const std::size_t done = at + stop.size();
      if (done < end || (done == end && at < begin)) end = done, begin = at;
    }
    auto matcher = llm::StopMatcher::make(stops);
    REQUIRE(matcher.has_value());
    std::string shown;
    bool stopped = false;
    for (std::size_t at = 0; at < text.size() && !stopped;) {
      const std::size_t size = random.bits() % 5 + 1;
      auto step = matcher->push(std::string_view(text).substr(at, size));
      shown += step.text;
      stopped = step.stopped;
      at += size;
    }
    if (!stopped) shown += matcher->flush();
    if (stopped != (end != std::string::npos) || shown != text.substr(0, begin)) {
      CAPTURE(text, stops, shown, begin);
      FAIL("another place");
    }
  }
}
