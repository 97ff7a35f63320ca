#include "apps/cli/bench_retrieval.hpp"

#include <cstdio>

#include "apps/cli/session.hpp"
#include "corvid/retrieval/beir.hpp"

namespace corvid::cli {

Status bench_retrieval(Session& session, const RetrievalBench& bench, const ComputeOptions& compute) {
  if (bench.folder.empty()) return fail(Error::invalid_argument("bench retrieval needs --beir FOLDER").at_key("beir"));
  const SearchMode mode = bench.mode == "dense" ? SearchMode::dense : bench.mode == "lexical" ? SearchMode::lexical : SearchMode::hybrid;
  CORVID_TRY(const auto folder, find_model(bench.embedder));  // the lexical mode too cuts documents at the embedder's limit
  CORVID_TRY(auto embedder, load_embedder(session, folder, compute));
  BeirOptions options;
  options.split = bench.split;
  options.fusion = bench.fusion == "rrf" ? Fusion::rrf : Fusion::convex;
  options.convex_weight = static_cast<float>(bench.convex_weight);
  options.cancellation = session.cancellation();
  options.progress = session.progress();
  CORVID_TRY(const auto report, run_beir(session.runtime(compute.threads), bench.folder, mode, std::move(embedder), options));
  session.end_progress();
  if (session.json) {
    return session.write_json({{"mode", bench.mode}, {"ndcg@10", report.ndcg_at_10}, {"recall@100", report.recall_at_100}, {"queries_s", report.queries_s},
                               {"docs_s", report.docs_s}, {"documents", report.documents}, {"documents_cut", report.documents_cut}, {"queries", report.queries}});
  }
  char line[200];
  std::snprintf(line, sizeof line, "%s: nDCG@10 %.4f, recall@100 %.4f, %.1f queries/s, %.1f documents/s", bench.mode.c_str(), report.ndcg_at_10, report.recall_at_100, report.queries_s, report.docs_s);
  return session.write_line(line);
}

}  // namespace corvid::cli
