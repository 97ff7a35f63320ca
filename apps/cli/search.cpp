// corvid search: the passages of a collection that fit a query best.
#include <cstdio>

#include "apps/cli/collection_access.hpp"
#include "apps/cli/session.hpp"

namespace corvid::cli {

namespace {

Json scores_json(const HitScores& scores) {
  auto number = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  return {{"dense", number(scores.dense)}, {"lexical", number(scores.lexical)}, {"dense_rank", number(scores.dense_rank)}, {"lexical_rank", number(scores.lexical_rank)}, {"fused", scores.fused}};
}

class Search final : public Command {
 public:
  CommandInfo info() const override {
    return {"search", "passages of a collection by meaning and by words", "  corvid search \"table layout\" -k 3\n  corvid search install --mode lexical --filter 'type = \"markdown\" and not title = \"FAQ\"' --json"};
  }
  void options(OptionSet& set) override {
    set.argument("QUERY", query_, true, "what to look for");
    set.integer("k", k_, 1, 100000, "hits at most");
    set.choice("mode", mode_, {"dense", "lexical", "hybrid"}, "by meaning, by words, or both");
    set.text("filter", filter_, "key = != < <= > >= in value; and, or, not, parentheses; strings in double quotes");
    set.choice("fusion", fusion_, {"convex", "rrf"}, "how hybrid joins both lists");
    set.real("convex-weight", weight_, 0, 1, "of the dense score in convex fusion");
    set.integer("rrf-k", rrf_k_, 1, 100000, "the constant of reciprocal rank fusion");
    set.integer("depth", depth_, 1, 1000000, "candidates of each side before fusion");
    set.real("mmr", mmr_, 0, 1, "below 1: prefer hits that differ from those above them");
    set.flag("explain", explain_, "show each score");
    where_.declare(set);
    compute_.declare(set);
  }
  Status run(Session& session) override {
    CORVID_TRY(const auto collection, open_collection(session, where_, compute_));
    SearchOptions options;
    options.k = static_cast<std::size_t>(k_);
    options.mode = mode_ == "dense" ? SearchMode::dense : mode_ == "lexical" ? SearchMode::lexical : SearchMode::hybrid;
    options.filter = filter_;
    options.fusion = fusion_ == "rrf" ? Fusion::rrf : Fusion::convex;
    options.convex_weight = static_cast<float>(weight_);
    options.rrf_k = static_cast<int>(rrf_k_);
    options.depth = static_cast<std::size_t>(depth_);
    options.mmr_lambda = static_cast<float>(mmr_);
    CORVID_TRY(const auto hits, collection->search(query_, options, session.cancellation()));
    if (session.json) {
      Json out = Json::array();
      for (const auto& hit : hits) {
        out.push_back(hit_json(hit));
        if (explain_) out.back()["scores"] = scores_json(hit.scores);
      }
      return session.write_json(out);
    }
    for (std::size_t i = 0; i < hits.size(); ++i) {
      char head[48];
      std::snprintf(head, sizeof head, "%zu. %.4f  ", i + 1, static_cast<double>(hits[i].score));
      CORVID_TRY_STATUS(session.write_line(head + session.bold(place_text(hits[i]))));
      if (explain_) CORVID_TRY_STATUS(session.write_line("   " + dump_json(scores_json(hits[i].scores))));
      CORVID_TRY_STATUS(session.write_line(hits[i].text + "\n"));
    }
    if (hits.empty()) session.note("nothing found");
    return {};
  }

 private:
  std::string query_, mode_ = "hybrid", filter_, fusion_ = "convex";
  std::int64_t k_ = 10, rrf_k_ = SearchOptions{}.rrf_k, depth_ = 100;
  double weight_ = 0.5, mmr_ = 1;
  bool explain_ = false;
  WorkspaceOptionsCli where_;
  ComputeOptions compute_;
};

}  // namespace

std::unique_ptr<Command> make_search() { return std::make_unique<Search>(); }

}  // namespace corvid::cli
