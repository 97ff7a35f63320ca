// Fusion, MMR, the two indexes and BEIR's measures against plain references.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "corvid/retrieval/beir.hpp"
#include "corvid/retrieval/fusion.hpp"
#include "corvid/retrieval/vector_index.hpp"
#include "retrieval/bench/beir_data.hpp"
#include "retrieval/fake_embedder.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

std::vector<ScoredId> ranked(std::mt19937& random, std::size_t n) {
  std::vector<std::int64_t> ids(40);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
  std::shuffle(ids.begin(), ids.end(), random);
  std::vector<ScoredId> list;
  float score = 5;
  for (std::size_t i = 0; i < n; ++i) list.push_back({ids[i], score -= static_cast<float>(random() % 100) / 100});
  return list;
}

std::map<std::int64_t, double> plain_convex(const std::vector<ScoredId>& dense, const std::vector<ScoredId>& lexical, double weight) {
  std::map<std::int64_t, double> out;
  const auto side = [&](const std::vector<ScoredId>& list, double w) {
    if (list.empty()) return;
    const double high = list.front().score, low = list.back().score;
    for (const auto& s : list) out[s.id] += w * (high == low ? 1 : (s.score - low) / (high - low));
  };
  side(dense, weight);
  side(lexical, 1 - weight);
  return out;
}

}  // namespace

TEST_CASE("fusion: RRF and convex combination as their definitions", "[retrieval]") {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    const auto dense = ranked(random, random() % 30), lexical = ranked(random, random() % 30);
    std::map<std::int64_t, double> rrf;
    for (std::size_t i = 0; i < dense.size(); ++i) rrf[dense[i].id] += 1.0 / (60 + static_cast<double>(i) + 1);
    for (std::size_t i = 0; i < lexical.size(); ++i) rrf[lexical[i].id] += 1.0 / (60 + static_cast<double>(i) + 1);
    const auto check = [&](const std::vector<FusedId>& fused, const std::map<std::int64_t, double>& expected) {
      REQUIRE(fused.size() == expected.size());
      for (std::size_t i = 0; i < fused.size(); ++i) {
        CHECK(fused[i].score == Approx(expected.at(fused[i].id)).margin(1e-6));
        if (i > 0) CHECK((fused[i - 1].score > fused[i].score || (fused[i - 1].score == fused[i].score && fused[i - 1].id < fused[i].id)));
        const auto in = std::find_if(dense.begin(), dense.end(), [&](const ScoredId& s) { return s.id == fused[i].id; });
        CHECK(fused[i].dense.has_value() == (in != dense.end()));
        if (in != dense.end()) {
          CHECK(*fused[i].dense == in->score);
          CHECK(*fused[i].dense_rank == static_cast<std::uint32_t>(in - dense.begin()) + 1);
        }
      }
    };
    check(fuse_rrf(dense, lexical, 60), rrf);
    for (const float w : {0.f, 0.3f, 0.5f, 1.f}) check(fuse_convex(dense, lexical, w), plain_convex(dense, lexical, w));
  }
}

TEST_CASE("MMR picks as its definition does", "[retrieval]") {
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    const std::size_t n = 1 + random() % 20, k = 1 + random() % 25;
    std::vector<float> relevance(n);
    std::vector<std::vector<float>> similar(n, std::vector<float>(n));
    for (auto& r : relevance) r = static_cast<float>(random() % 1000) / 1000;
    for (std::size_t i = 0; i < n; ++i) for (std::size_t j = 0; j <= i; ++j) similar[i][j] = similar[j][i] = static_cast<float>(random() % 1000) / 1000;
    const float lambda = static_cast<float>(random() % 11) / 10;
    const auto similarity = [&](std::size_t i, std::size_t j) { return similar[i][j]; };
    const auto picked = mmr(relevance, k, lambda, similarity);
    std::vector<std::size_t> plain;
    while (plain.size() < std::min(k, n)) {
      std::size_t best = n;
      float best_value = 0;
      for (std::size_t i = 0; i < n; ++i) {
        if (std::find(plain.begin(), plain.end(), i) != plain.end()) continue;
        float near = 0;
        for (std::size_t p = 0; p < plain.size(); ++p) near = p == 0 ? similar[i][plain[p]] : std::max(near, similar[i][plain[p]]);
        const float value = lambda * relevance[i] - (1 - lambda) * near;
        if (best == n || value > best_value) best = i, best_value = value;
      }
      plain.push_back(best);
    }
    CHECK(picked == plain);
  }
}

TEST_CASE("exact vector index: brute force, batches, bitmaps from none to all, deletions", "[retrieval]") {
  Runtime runtime(RuntimeOptions{.threads = 2});
  OpContext ctx;
  ctx.pool = &runtime.pool();
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const std::uint32_t dimension : {1u, 3u, 17u, 64u, 384u}) {
    const std::size_t n = 777, queries = 5;
    std::vector<float> rows(n * dimension), asked(queries * dimension);
    for (auto& x : rows) x = normal(random);
    for (auto& x : asked) x = normal(random);
    for (std::uint32_t d = 0; d < dimension; ++d) rows[5 * dimension + d] = rows[400 * dimension + d];  // equal scores
    auto index = make_exact_index(runtime.memory(), dimension);
    REQUIRE(index);
    std::vector<std::int64_t> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(10 * i);
    const std::size_t half = 300;
    const auto view = [&](const float* p, std::size_t count) { return ConstTensorView(p, DType::f32, {static_cast<std::int64_t>(count), static_cast<std::int64_t>(dimension)}); };
    REQUIRE((*index)->add(std::span(ids).first(half), view(rows.data(), half)));
    REQUIRE((*index)->add(std::span(ids).subspan(half), view(rows.data() + half * dimension, n - half)));
    std::vector<std::int64_t> gone = {0, 10, 7760, 99999};
    CHECK((*index)->remove(gone) == 3);
    for (const int percent : {-1, 0, 1, 10, 50, 99, 100}) {
      RowBitmap allowed(n);
      for (std::size_t i = 0; i < n; ++i) if (static_cast<int>(random() % 100) < percent) allowed.set(i);
      auto lists = (*index)->search(ctx, view(asked.data(), queries), 20, percent < 0 ? nullptr : &allowed);
      REQUIRE(lists);
      REQUIRE(lists->size() == queries);
      for (std::size_t q = 0; q < queries; ++q) {
        std::vector<std::pair<double, std::size_t>> plain;
        for (std::size_t i = 2; i < n - 1; ++i) {
          if (percent >= 0 && !allowed.test(i)) continue;
          double sum = 0;
          for (std::uint32_t d = 0; d < dimension; ++d) sum += static_cast<double>(rows[i * dimension + d]) * asked[q * dimension + d];
          plain.push_back({-sum, i});
        }
        std::sort(plain.begin(), plain.end());
        const auto& list = (*lists)[q];
        REQUIRE(list.size() == std::min<std::size_t>(20, plain.size()));
        for (std::size_t r = 0; r < list.size(); ++r) {
          CHECK(list[r].score == Approx(-plain[r].first).margin(1e-4));
          if (r > 0) CHECK((list[r - 1].score > list[r].score || (list[r - 1].score == list[r].score && list[r - 1].id < list[r].id)));
        }
      }
    }
    std::vector<float> bad(dimension, NAN);
    const std::int64_t id = 1;
    CHECK((*index)->add(std::span(&id, 1), view(bad.data(), 1)).error().code() == ErrorCode::invalid_argument);
  }
}

TEST_CASE("exact vector index: f16 storage holds rounded vectors, and refuses what halves cannot hold", "[retrieval]") {
  Runtime runtime(RuntimeOptions{.threads = 2});
  OpContext ctx;
  ctx.pool = &runtime.pool();
  const std::uint32_t dimension = 48;
  const std::size_t n = 500, queries = 20;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> rows(n * dimension), asked(queries * dimension);
  for (auto& x : rows) x = normal(random);
  for (auto& x : asked) x = normal(random);
  std::vector<std::int64_t> ids(n);
  for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(i);
  const auto view = [&](const float* p, std::size_t count) { return ConstTensorView(p, DType::f32, {static_cast<std::int64_t>(count), static_cast<std::int64_t>(dimension)}); };
  auto index = make_exact_index(runtime.memory(), dimension, DType::f16);
  REQUIRE(index);
  REQUIRE((*index)->add(ids, view(rows.data(), n)));
  CHECK((*index)->vectors().dtype == DType::f16);
  auto lists = (*index)->search(ctx, view(asked.data(), queries), 10);
  REQUIRE(lists);
  for (std::size_t q = 0; q < queries; ++q) {
    std::vector<std::pair<double, std::int64_t>> plain;
    for (std::size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::uint32_t d = 0; d < dimension; ++d) sum += static_cast<double>(half_to_float(float_to_half(rows[i * dimension + d]))) * asked[q * dimension + d];
      plain.push_back({-sum, ids[i]});
    }
    std::sort(plain.begin(), plain.end());
    for (std::size_t r = 0; r < 10; ++r) {
      CHECK((*lists)[q][r].id == plain[r].second);
      CHECK((*lists)[q][r].score == Approx(-plain[r].first).margin(1e-4));
    }
  }
  std::vector<float> large(dimension, 70000.0f);
  const std::int64_t id = 1000;
  CHECK((*index)->add(std::span(&id, 1), view(large.data(), 1)).error().code() == ErrorCode::invalid_argument);
  CHECK(make_exact_index(runtime.memory(), dimension, DType::q8_0).error().code() == ErrorCode::unsupported);
}

TEST_CASE("lexical index: BM25 of a plain reference, stemming, OR, collections apart", "[retrieval]") {
  auto db = Database::open(":memory:", false, 0);
  REQUIRE(db);
  auto index = make_fts5_index();
  for (const auto& m : index->migrations()) REQUIRE(db->execute(m.sql));
  const std::vector<std::string> words = {"storm", "coast", "rain", "claim", "bridge", "lamp", "river", "stone"};
  std::mt19937 random(5);
  std::vector<std::vector<std::string>> documents(200);
  for (std::size_t i = 0; i < documents.size(); ++i) {
    std::string text;
    for (std::size_t w = 0, n = 1 + random() % 30; w < n; ++w) {
      documents[i].push_back(words[std::min(random() % words.size(), random() % words.size())]);
      text += documents[i].back() + ' ';
    }
    REQUIRE(index->add(*db, 1, static_cast<std::int64_t>(i), text));
  }
  REQUIRE(index->add(*db, 2, 7, "storm storm storm"));
  const auto bm25 = [&](const std::vector<std::string>& query) {
    double mean = 0;
    for (const auto& d : documents) mean += static_cast<double>(d.size()) / static_cast<double>(documents.size());
    std::vector<std::pair<double, std::int64_t>> scores;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      double score = 0;
      for (const auto& word : query) {
        double in = 0;
        for (const auto& d : documents) in += std::find(d.begin(), d.end(), word) != d.end();
        const double tf = static_cast<double>(std::count(documents[i].begin(), documents[i].end(), word));
        const double idf = std::max(1e-6, std::log((static_cast<double>(documents.size()) - in + 0.5) / (in + 0.5)));
        score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * static_cast<double>(documents[i].size()) / mean));
      }
      if (score > 0) scores.push_back({-score, static_cast<std::int64_t>(i)});
    }
    std::sort(scores.begin(), scores.end());
    return scores;
  };
  for (const std::vector<std::string>& query : {std::vector<std::string>{"lamp"}, {"river", "stone"}, {"bridge", "lamp", "stone"}}) {
    std::string text;
    for (const auto& word : query) text += word + "s! ";  // stemmed away
    const auto hits = index->search(*db, 1, text, 50);
    REQUIRE(hits);
    const auto plain = bm25(query);
    REQUIRE(hits->size() == std::min<std::size_t>(50, plain.size()));
    for (std::size_t r = 0; r < hits->size(); ++r) CHECK((*hits)[r].score == Approx(-plain[r].first).epsilon(1e-4));
  }
  CHECK(index->search(*db, 1, "?? -- \"\" *", 5)->empty());
  CHECK(index->search(*db, 1, "AND OR NOT NEAR(storm) text:x ^lamp*", 5).has_value());
  CHECK(index->search(*db, 3, "storm", 5)->empty());
  CHECK(index->search(*db, 2, "storm", 5)->size() == 1);
  CHECK(index->add(*db, 1, 7, "again").error().code() == ErrorCode::conflict);
  // Only allowed rows.
  std::vector<std::int64_t> ids(documents.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
  RowBitmap rows(ids.size());
  rows.set(3), rows.set(150);
  AllowedIds allowed{ids, &rows};
  const auto few = index->search(*db, 1, "storm coast rain claim bridge lamp river stone", 50, allowed);
  REQUIRE(few);
  CHECK(few->size() == 2);
  for (const auto& hit : *few) CHECK((hit.id == 3 || hit.id == 150));
  REQUIRE(index->remove(*db, 1, 3));
  REQUIRE(index->remove(*db, 1, 3));
  const auto left = index->search(*db, 1, "storm coast rain claim bridge lamp river stone", 500);
  REQUIRE(left);
  for (const auto& hit : *left) CHECK(hit.id != 3);
  REQUIRE(index->remove_collection(*db, 1));
  CHECK(index->search(*db, 1, "storm", 5)->empty());
  CHECK(index->search(*db, 2, "storm", 5)->size() == 1);
}

TEST_CASE("BEIR: measures by hand, a small set end to end, damaged files", "[retrieval]") {
  using retrieval::ndcg_at_10, retrieval::recall_at_100;
  CHECK(ndcg_at_10({"a", "b"}, {{"a", 1}}) == Approx(1));
  CHECK(ndcg_at_10({"b", "a"}, {{"a", 1}}) == Approx(1 / std::log2(3)));
  CHECK(ndcg_at_10({"a", "b", "c"}, {{"a", 1}, {"c", 2}}) == Approx((1 + 2 / 2.0) / (2 + 1 / std::log2(3))));
  CHECK(ndcg_at_10({}, {{"a", 1}}) == 0);
  CHECK(recall_at_100({"x", "a"}, {{"a", 1}, {"b", 1}, {"c", 0}}) == Approx(0.5));

  test::TempDir dir;
  test::write_file(dir / "corpus-0.jsonl", "{\"_id\": \"d1\", \"title\": \"Storm\", \"text\": \"wind and rain\"}\n{\"_id\": \"d2\", \"title\": \"\", \"text\": \"a lamp\"}\n");
  test::write_file(dir / "corpus-1.jsonl", "{\"_id\": \"d3\", \"text\": \"stone bridge over the river\"}\n");
  test::write_file(dir / "queries.jsonl", "{\"_id\": \"q1\", \"text\": \"storm rain\"}\n{\"_id\": \"q2\", \"text\": \"river bridge\"}\n{\"_id\": \"q3\", \"text\": \"not judged\"}\n");
  std::filesystem::create_directories(dir / "qrels");
  test::write_file(dir.path() / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td3\t1\n");
  Runtime runtime(RuntimeOptions{.threads = 1});
  auto embedder = std::make_shared<test::FakeEmbedder>("/fake");
  for (const auto mode : {SearchMode::dense, SearchMode::lexical, SearchMode::hybrid}) {
    const auto report = run_beir(runtime, dir.path(), mode, embedder);
    if (!report) UNSCOPED_INFO(report.error().describe());
    REQUIRE(report);
    CHECK(report->documents == 3);
    CHECK(report->queries == 2);
    CHECK(report->ndcg_at_10 == Approx(1));
    CHECK(report->recall_at_100 == Approx(1));
  }
  CHECK(run_beir(runtime, dir.path(), SearchMode::lexical, nullptr));
  CHECK(run_beir(runtime, dir.path(), SearchMode::dense, nullptr).error().code() == ErrorCode::invalid_argument);
  CHECK(run_beir(runtime, dir / "nope", SearchMode::lexical, nullptr).error().code() == ErrorCode::not_found);
  test::write_file(dir / "corpus-1.jsonl", "{\"_id\": \"d3\", \"text\": \"ok\"}\n{\"_id\": 3}\n");
  const auto damaged = run_beir(runtime, dir.path(), SearchMode::lexical, nullptr);
  REQUIRE_FALSE(damaged);
  CHECK(damaged.error().code() == ErrorCode::bad_input);
  CHECK(damaged.error().offset() == 28u);
}
