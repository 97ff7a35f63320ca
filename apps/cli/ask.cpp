// corvid ask: a question answered from a collection, with citations.
#include <future>

#include "apps/cli/collection_access.hpp"
#include "apps/cli/json_output.hpp"
#include "apps/cli/session.hpp"
#include "corvid/agents/rag.hpp"
#include "corvid/llm/chat_model.hpp"

namespace corvid::cli {

namespace {

std::string_view name_of(Citation::By by) { return by == Citation::By::model ? "model" : "attribution"; }

Json answer_json(const RagAnswer& answer, double load_ms) {
  Json citations = Json::array();
  for (const auto& citation : answer.citations) {
    const Hit& hit = citation.hit;
    Json entry = {{"n", citation.n}, {"by", std::string(name_of(citation.by))}, {"source", hit.source}, {"heading", hit.heading}, {"lines", {hit.lines.first, hit.lines.last}}, {"bytes", {hit.bytes.begin, hit.bytes.end}}, {"text", hit.text}};
    if (hit.page) entry["page"] = *hit.page;
    citations.push_back(std::move(entry));
  }
  Json timings = timings_json(answer.timings, load_ms);
  timings["retrieval_ms"] = answer.retrieval_ms;
  return {{"answer", answer.answer}, {"grounded", answer.grounded}, {"citations", std::move(citations)}, {"unsupported", answer.unsupported},
          {"removed", answer.removed}, {"notes", answer.notes}, {"usage", usage_json(answer.usage)}, {"timings", std::move(timings)}};
}

class Ask final : public Command {
 public:
  CommandInfo info() const override { return {"ask", "a question answered from a collection, with citations", "  corvid ask \"How do I install it?\"\n  corvid ask \"Which formats are read?\" --collection handbook -k 8 --json"}; }
  void options(OptionSet& set) override {
    set.argument("QUESTION", question_, true, "the question");
    model_.declare(set);
    where_.declare(set);
    set.integer("k", k_, 1, 1000, "passages at most");
    set.integer("passage-tokens", passage_tokens_, 16, 1 << 20, "budget of the passages in the prompt");
    set.integer("max-tokens", max_tokens_, 1, 1 << 20, "of the answer");
    set.choice("mode", mode_, {"dense", "lexical", "hybrid"}, "of the search");
    set.text("filter", filter_, "as in search");
    set.real("temperature", temperature_, 0, 100, "0 takes the best token");
    set.integer("seed", seed_, 0, INT64_MAX, "of the random generator");
  }
  Status run(Session& session) override {
    CORVID_TRY(auto collection, open_collection(session, where_, model_));
    // The embedder loads beside the chat model. What goes wrong there the search meets again, and says.
    std::future<void> embedder;
    if (mode_ != "lexical") embedder = std::async(std::launch::async, [collection] { (void)collection->embed({}); });
    CORVID_TRY(const auto loaded, load_chat_model(session, model_));
    if (embedder.valid()) embedder.get();
    RagOptions options;
    options.k = static_cast<std::size_t>(k_);
    options.context_tokens = static_cast<std::uint32_t>(passage_tokens_);
    options.max_tokens = static_cast<int>(max_tokens_);
    options.search.filter = filter_;
    options.search.mode = mode_ == "dense" ? SearchMode::dense : mode_ == "lexical" ? SearchMode::lexical : SearchMode::hybrid;
    options.sampling.temperature = static_cast<float>(temperature_);
    options.sampling.seed = static_cast<std::uint64_t>(seed_);
    options.cancellation = session.cancellation();
    // On a terminal the model's words appear as they come; the checked answer with its citations follows.
    const bool live = session.stdout_is_terminal() && !session.json;
    Status shown;
    std::function<void(std::string_view)> on_text;
    if (live) on_text = [&](std::string_view text) { if (shown) shown = session.write(text); };
    RagPipeline pipeline(session.runtime(), std::move(collection), loaded.model);
    CORVID_TRY(const auto answer, pipeline.ask(question_, options, on_text));
    CORVID_TRY_STATUS(shown);
    if (session.json) return session.write_json(answer_json(answer, loaded.load_ms));
    if (live) CORVID_TRY_STATUS(session.write("\n\n"));
    return print(session, answer);
  }

 private:
  static Status print(Session& session, const RagAnswer& answer) {
    CORVID_TRY_STATUS(session.write_line(answer.answer));
    if (!answer.citations.empty()) CORVID_TRY_STATUS(session.write("\n"));
    for (const auto& citation : answer.citations) {
      const std::string how = citation.by == Citation::By::attribution ? "  (attributed)" : "";
      CORVID_TRY_STATUS(session.write_line(session.bold("[" + std::to_string(citation.n) + "]") + " " + place_text(citation.hit) + how));
    }
    for (const auto& sentence : answer.unsupported) session.note("no passage supports: " + sentence);
    for (const auto& marker : answer.removed) session.note("removed a citation of nothing retrieved: " + marker);
    for (const auto& note : answer.notes) session.note(note);
    return {};
  }

  std::string question_, mode_ = "hybrid", filter_;
  ChatModelOptions model_;
  WorkspaceOptionsCli where_;
  std::int64_t k_ = 5, passage_tokens_ = 1536, max_tokens_ = 256, seed_ = 0;
  double temperature_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_ask() { return std::make_unique<Ask>(); }

}  // namespace corvid::cli
