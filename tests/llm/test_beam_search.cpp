// Beam search against exhaustive search, and through the engine against a plain one that scores whole sequences anew.
#include <algorithm>
#include <cmath>
#include <random>

#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
#include "llm/sampling/beam_search.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::llm;
using namespace corvid::test;

namespace {

constexpr std::size_t kVocab = 5;
constexpr TokenId kEnd = 4;

// Logits that depend on the whole sequence, from a hash: as good as any model for the algorithm.
std::vector<float> logits_of(const std::vector<TokenId>& ids, unsigned seed) {
  for (const TokenId id : ids) seed = seed * 1664525u + 1013904223u + static_cast<unsigned>(id) * 2654435761u;
  std::mt19937 random(seed);
  std::vector<float> row(kVocab);
  for (auto& x : row) x = static_cast<float>(random() % 1000) / 200;
  return row;
}

double logprob(const std::vector<float>& row, TokenId id) {
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x));
  return static_cast<double>(row[static_cast<std::size_t>(id)]) - std::log(sum);
}

struct Found { std::vector<TokenId> ids; double score = -1e300; };

void exhaust(std::vector<TokenId>& ids, double sum, unsigned seed, std::size_t longest, double penalty, Found& best) {
  if (!ids.empty() && (ids.back() == kEnd || ids.size() == longest)) {
    const double score = sum / std::pow(static_cast<double>(ids.size()), penalty);
    if (score > best.score) best = {ids, score};
    return;
  }
  const auto row = logits_of(ids, seed);
  for (TokenId id = 0; id < static_cast<TokenId>(kVocab); ++id) {
    ids.push_back(id);
    exhaust(ids, sum + logprob(row, id), seed, longest, penalty, best);
    ids.pop_back();
  }
}

std::vector<TokenId> ids_of(const Beam& beam) {
  std::vector<TokenId> ids;
  for (const auto& token : beam.tokens) ids.push_back(token.id);
  return ids;
}

Beam search(int width, float penalty, std::size_t longest, unsigned seed, std::unique_ptr<TokenConstraint> constraint = nullptr) {
  BeamSearch beams(width, penalty, -1, longest, std::move(constraint));
  while (true) {
    std::vector<std::vector<float>> rows;
    for (const auto& beam : beams.live()) rows.push_back(logits_of(ids_of(beam), seed));
    std::vector<std::span<const float>> views(rows.begin(), rows.end());
    const auto before = beams.live().size();
    const auto ends = [](const std::vector<SampledToken>& tokens) { return tokens.back().id == kEnd; };
    const auto parents = beams.advance(views, ends);
    REQUIRE(parents);
    for (const auto parent : *parents) REQUIRE(parent < before);
    if (parents->empty()) return {beams.best().tokens, beams.best().logprob, nullptr};
  }
}

// Even tokens only.
class Even final : public TokenConstraint {
 public:
  Status mask(std::vector<bool>& allowed) override {
    for (std::size_t i = 0; i < allowed.size(); i += 2) allowed[i] = true;
    return {};
  }
  Status advance(TokenId id) override { return id % 2 == 0 ? Status() : Status(fail(Error::invalid_argument("odd"))); }
  std::unique_ptr<TokenConstraint> fork() const override { return std::make_unique<Even>(); }
  std::vector<std::byte> save() const override { return {}; }
};

}  // namespace

TEST_CASE("beam search: wide enough, it finds what exhaustive search finds") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    for (const float penalty : {0.f, 1.f, 2.f}) {
      Found best;
      std::vector<TokenId> ids;
      exhaust(ids, 0, seed, 4, penalty, best);
      const auto found = search(700, penalty, 4, seed);
      CHECK(ids_of(found) == best.ids);
      CHECK(found.logprob / std::pow(static_cast<double>(found.tokens.size()), static_cast<double>(penalty)) == Approx(best.score).epsilon(1e-6));
    }
  }
}

TEST_CASE("beam search: a wider one is seldom worse, and a constraint holds on every beam") {
  int worse = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    const auto narrow = search(2, 0, 8, seed), wide = search(16, 0, 8, seed);
    worse += wide.logprob < narrow.logprob - 1e-9;
    for (const TokenId id : ids_of(search(4, 1, 8, seed, std::make_unique<Even>()))) CHECK(id % 2 == 0);
  }
  CHECK(worse == 0);
}

TEST_CASE("beam search: through the engine as a plain one that scores each sequence anew") {
  Runtime runtime(RuntimeOptions{.threads = 1});
  TempDir dir;
  const TinyModels models;
  const auto path = dir / "tiny.gguf";
  write_file(path, models.gguf(models.decoder("llama-llama3")).bytes());
  EngineOptions options;
  options.precision = Precision::f32;
  options.context_tokens = 128;
  auto engine = Engine::load_blocking(runtime, path, options);
  if (!engine) FAIL(engine.error().describe());
  const std::vector<TokenId> prompt = {3, 17, 40, 9, 77, 5, 61};
  const TokenId stop = 30;
  for (const int width : {2, 3, 5}) {
    for (const float penalty : {0.f, 1.f}) {
      constexpr std::size_t kLongest = 10;
      struct Plain { std::vector<TokenId> ids; double logprob = 0; };
      std::vector<Plain> live = {{}};
      std::vector<std::pair<double, Plain>> done;
      for (std::size_t length = 1; length <= kLongest && !live.empty(); ++length) {
        std::vector<Plain> all;
        for (const auto& beam : live) {
          auto whole = prompt;
          whole.insert(whole.end(), beam.ids.begin(), beam.ids.end());
          const auto scored = runtime.wait((*engine)->score(whole, 3 * width));
          REQUIRE(scored);
          for (const auto& next : scored->top.back()) {
            auto longer = beam;
            longer.ids.push_back(next.id);
            longer.logprob += static_cast<double>(next.logprob);
            all.push_back(longer);
          }
        }
        std::stable_sort(all.begin(), all.end(), [](const Plain& a, const Plain& b) { return a.logprob > b.logprob; });
        live.clear();
        for (std::size_t rank = 0; rank < all.size() && rank < static_cast<std::size_t>(2 * width) && live.size() < static_cast<std::size_t>(width); ++rank) {
          const bool ends = all[rank].ids.back() == stop;
          if (!ends) live.push_back(all[rank]);
          else if (rank < static_cast<std::size_t>(width)) done.push_back({all[rank].logprob / std::pow(static_cast<double>(length), penalty), all[rank]});
        }
        std::stable_sort(done.begin(), done.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
        if (done.size() > static_cast<std::size_t>(width)) done.resize(static_cast<std::size_t>(width));
        if (done.size() == static_cast<std::size_t>(width) && live[0].logprob / std::pow(static_cast<double>(length), penalty) <= done.back().first) live.clear();
        if (length == kLongest) for (const auto& beam : live) done.push_back({beam.logprob / std::pow(static_cast<double>(length), penalty), beam});
      }
      std::stable_sort(done.begin(), done.end(), [](const auto& a, const auto& b) { return a.first > b.first; });

      GenerateRequest request;
      request.prompt = prompt;
      request.max_tokens = static_cast<int>(kLongest);
      request.beams = width;
      request.beam_length_penalty = penalty;
      request.ignore_eos = true;
      request.stop_tokens = {stop};
      request.sampling.logprobs = 2;
      auto stream = (*engine)->generate(request);
      REQUIRE(stream);
      const auto result = gather_blocking(std::move(*stream));
      REQUIRE(result);
      CHECK(result->token_ids == done.front().second.ids);
      CHECK(result->logprobs.size() == result->token_ids.size());
      CHECK(result->usage.completion_tokens == result->token_ids.size());
      CHECK(result->finish_reason == (result->token_ids.back() == stop ? FinishReason::stop : FinishReason::length));
      double sum = 0;
      for (const float x : result->logprobs) sum += static_cast<double>(x);
      CHECK(sum == Approx(done.front().second.logprob).margin(1e-3));
    }
  }
  // More tokens than a stream holds, beside other requests, and what cannot be.
  GenerateRequest longer;
  longer.prompt = prompt;
  longer.max_tokens = 100;
  longer.beams = 4;
  longer.ignore_eos = true;
  auto greedy = longer;
  greedy.beams = 1;
  auto first = (*engine)->generate(longer), beside = (*engine)->generate(greedy), again = (*engine)->generate(longer);
  REQUIRE(first);
  REQUIRE(beside);
  REQUIRE(again);
  const auto a = gather_blocking(std::move(*first)), b = gather_blocking(std::move(*beside)), c = gather_blocking(std::move(*again));
  REQUIRE(a);
  REQUIRE(b);
  REQUIRE(c);
  CHECK(a->token_ids.size() == 100);
  CHECK(a->token_ids == c->token_ids);
  CHECK(b->token_ids.size() == 100);
  auto bad = longer;
  bad.sampling.temperature = 1;
  CHECK((*engine)->generate(bad).error().code() == ErrorCode::invalid_argument);
  bad = longer;
  bad.beams = 100'000;
  CHECK((*engine)->generate(bad).error().code() == ErrorCode::invalid_argument);
}
