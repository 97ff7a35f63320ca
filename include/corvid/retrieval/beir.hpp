// run_beir: retrieval quality and speed on a data set in BEIR's layout (Thakur et al. 2021).
//
//   CORVID_TRY(auto report, run_beir(runtime, "scifact", SearchMode::hybrid, embedder));
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/progress.hpp"
#include "corvid/base/result.hpp"
#include "corvid/embed/text_embedder.hpp"
#include "corvid/retrieval/collection.hpp"
#include "corvid/runtime/runtime.hpp"

namespace corvid {

struct BeirOptions {
  std::string split = "test";              ///< qrels/SPLIT.tsv
  Fusion fusion = Fusion::convex;
  float convex_weight = 0.5f;              ///< of the dense score
  int rrf_k = 60;
  std::size_t depth = 100;                 ///< results a query, and candidates of each side before fusion
  CancellationToken cancellation;
  ProgressSink progress;
};

struct BeirReport {
  std::uint64_t documents = 0, queries = 0;
  std::uint64_t documents_cut = 0;         ///< longer than the embedder's limit
  double ndcg_at_10 = 0;                   ///< mean over queries; gain = the judgement, discount log2(rank + 1)
  double recall_at_100 = 0;
  double queries_s = 0;                    ///< queries a second, one after another, embedding them included
  double docs_s = 0;                       ///< documents a second into the indexes of the mode, embedding included
};

/// Reads corpus.jsonl or corpus-*.jsonl, queries.jsonl, qrels/SPLIT.tsv. A document is one vector and one lexical entry of its title, a
/// space and its text, cut at the embedder's limit; the queries are those of the qrels. Blocking. `embedder` may be null for lexical.
/// Errors: not_found, bad_input (file, byte offset), invalid_argument (no embedder), cancelled.
Result<BeirReport> run_beir(Runtime& runtime, const std::filesystem::path& folder, SearchMode mode,
                            std::shared_ptr<TextEmbedder> embedder, const BeirOptions& options = {});

}  // namespace corvid
