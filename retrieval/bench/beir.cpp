#include "corvid/retrieval/beir.hpp"

#include <chrono>

#include "corvid/retrieval/fusion.hpp"
#include "corvid/retrieval/vector_index.hpp"
#include "retrieval/bench/beir_data.hpp"

namespace corvid {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int64_t kCollection = 1;
constexpr std::size_t kBatch = 256;  // documents between two looks at cancellation and progress

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// The part of a text that the embedder reads: whole tokens from its start.
Result<std::string_view> cut_at_limit(const TextEmbedder& embedder, std::string_view text, std::size_t specials, bool& cut) {
  CORVID_TRY(const auto spans, embedder.tokenizer()->encode_spans(text, {.add_special = false}));
  const std::size_t room = embedder.max_tokens() > specials ? embedder.max_tokens() - specials : 0;
  cut = spans.size() > room;
  return cut ? text.substr(0, room == 0 ? 0 : spans[room - 1].end) : text;
}

// The two indexes of a run. The word index lives in a database in memory: nothing of a benchmark stays.
struct Indexes {
  std::unique_ptr<VectorIndex> vectors;
  std::unique_ptr<LexicalIndex> lexical;
  Database db;
};

Result<Indexes> make_indexes(Runtime& runtime, std::uint32_t dimension) {
  CORVID_TRY(Database db, Database::open(":memory:", false, 0));
  Indexes indexes{nullptr, make_fts5_index(), std::move(db)};
  for (const auto& migration : indexes.lexical->migrations()) CORVID_TRY_STATUS(indexes.db.execute(migration.sql));
  if (dimension > 0) {
    CORVID_TRY(indexes.vectors, make_exact_index(runtime.memory(), dimension));
  }
  return indexes;
}

}  // namespace

Result<BeirReport> run_beir(Runtime& runtime, const std::filesystem::path& folder, SearchMode mode, std::shared_ptr<TextEmbedder> embedder,
                            const BeirOptions& options) {
  const bool dense = mode != SearchMode::lexical, lexical = mode != SearchMode::dense;
  if (dense && !embedder) return fail(Error::invalid_argument("dense and hybrid retrieval need an embedder").at_key("embedder"));
  if (options.depth < 100) return fail(Error::invalid_argument("recall@100 needs a depth of at least 100").at_key("depth"));
  CORVID_TRY(auto data, retrieval::BeirData::read(folder, options.split, options.cancellation));
  // A tokenizer.json takes UTF-8 alone; JSON text is that, but for lone surrogates, which the parser has refused.
  CORVID_TRY(auto indexes, make_indexes(runtime, dense ? embedder->dimension() : 0));
  std::size_t specials = 0;
  if (embedder) {
    CORVID_TRY(const auto none, embedder->tokenizer()->encode(""));
    specials = none.size();
  }

  BeirReport report;
  report.documents = data.documents.size();
  report.queries = data.queries.size();
  const auto begin = Clock::now();
  if (dense) CORVID_TRY_STATUS(indexes.vectors->reserve(data.documents.size()));
  if (lexical) CORVID_TRY_STATUS(indexes.db.execute("BEGIN"));
  for (std::size_t at = 0; at < data.documents.size(); at += kBatch) {
    CORVID_TRY_STATUS(options.cancellation.check());
    if (options.progress) options.progress({"index", at, data.documents.size(), ""});
    const std::size_t n = std::min(kBatch, data.documents.size() - at);
    std::vector<std::string_view> texts;
    std::vector<std::int64_t> ids;
    for (std::size_t i = at; i < at + n; ++i) {
      std::string_view text = data.documents[i].text;
      if (embedder) {
        bool cut = false;
        CORVID_TRY(text, cut_at_limit(*embedder, text, specials, cut));
        report.documents_cut += cut;
      }
      texts.push_back(text);
      ids.push_back(static_cast<std::int64_t>(i));
      if (lexical) CORVID_TRY_STATUS(indexes.lexical->add(indexes.db, kCollection, ids.back(), text));
    }
    if (dense) {
      CORVID_TRY(const auto vectors, embedder->embed(texts, options.cancellation));
      CORVID_TRY_STATUS(indexes.vectors->add(ids, ConstTensorView(vectors.values.data(), DType::f32, {static_cast<std::int64_t>(n), static_cast<std::int64_t>(embedder->dimension())})));
    }
  }
  if (lexical) CORVID_TRY_STATUS(indexes.db.execute("COMMIT"));
  report.docs_s = static_cast<double>(data.documents.size()) / seconds_since(begin);

  OpContext ctx;
  ctx.pool = &runtime.pool();
  const auto asked = Clock::now();
  double ndcg = 0, recall = 0;
  for (std::size_t q = 0; q < data.queries.size(); ++q) {
    CORVID_TRY_STATUS(options.cancellation.check());
    if (options.progress) options.progress({"query", q, data.queries.size(), ""});
    const auto& query = data.queries[q];
    std::vector<ScoredId> near, worded;
    if (dense) {
      const std::string_view text = query.text;
      CORVID_TRY(const auto vector, embedder->embed(std::span(&text, 1), options.cancellation));
      CORVID_TRY(auto lists, indexes.vectors->search(ctx, ConstTensorView(vector.values.data(), DType::f32, {1, static_cast<std::int64_t>(embedder->dimension())}), options.depth));
      near = std::move(lists[0]);
    }
    if (lexical) {
      CORVID_TRY(worded, indexes.lexical->search(indexes.db, kCollection, query.text, options.depth));
    }
    const auto fused = !lexical ? fuse_single(near, true) : !dense ? fuse_single(worded, false)
                       : options.fusion == Fusion::rrf ? fuse_rrf(near, worded, options.rrf_k) : fuse_convex(near, worded, options.convex_weight);
    std::vector<std::string> ranked;
    for (const auto& hit : fused) ranked.push_back(data.documents[static_cast<std::size_t>(hit.id)].id);
    const auto& grades = data.judgements.at(query.id);
    ndcg += retrieval::ndcg_at_10(ranked, grades);
    recall += retrieval::recall_at_100(ranked, grades);
  }
  report.queries_s = static_cast<double>(data.queries.size()) / seconds_since(asked);
  report.ndcg_at_10 = ndcg / static_cast<double>(data.queries.size());
  report.recall_at_100 = recall / static_cast<double>(data.queries.size());
  if (options.progress) options.progress({"query", data.queries.size(), data.queries.size(), ""});
  return report;
}

}  // namespace corvid
