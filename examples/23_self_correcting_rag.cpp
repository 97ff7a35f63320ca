// Self-correcting retrieval: retrieve, grade, ask in other words where nothing good was found, answer. A loop, and it is bounded.
//
//   23_self_correcting_rag MODEL.gguf EMBEDDER_FOLDER DOCUMENTS "Where do I pay?"
#include <corvid/agents/model_state.hpp>
#include <corvid/graphs/state_graph.hpp>
#include <corvid/llm/engine.hpp>
#include <corvid/retrieval/collection.hpp>
#include <cstdio>

namespace {

using namespace corvid;

struct Rag {
  Key<std::string> question{"question"}, query{"query"}, answer{"answer"};
  Key<std::vector<std::string>> relevant{"relevant"};
  Key<int> tries{"tries"};
};
using State = StateOf<Rag>;

Task<GenerationResult> ask(NodeContext& context, Engine& engine, std::vector<Message> messages) {
  ChatRequest request;
  request.messages = std::move(messages);
  request.max_tokens = 48;
  return chat_in_node(context, engine, std::move(request));  // stops within a token when the run is cancelled
}

Status run(char* argv[]) {
  Runtime runtime;
  CORVID_TRY(auto workspace, Workspace::open("rag.db"));
  const EmbedderFactory embedders = [&](const std::filesystem::path& folder) { return TextEmbedder::load(runtime, folder); };
  CORVID_TRY(auto collection, Collection::open_or_create(runtime, workspace, "default", embedders, argv[2]));
  CORVID_TRY(auto report, collection->ingest({argv[3]}, {}));
  CORVID_TRY(auto engine, Engine::load_blocking(runtime, argv[1]));

  StateGraph<Rag> graph;
  graph.add_node("retrieve", [&](const State& s, NodeContext& context) -> Result<Update<Rag>> {
    SearchOptions options;
    options.mode = SearchMode::dense;
    options.k = 4;
    CORVID_TRY(const auto hits, collection->search(s[&Rag::question] + " " + s[&Rag::query], options, context.cancellation()));
    std::vector<std::string> good;  // the grade: a cosine of 0.35 or more
    for (const auto& hit : hits)
      if (hit.score >= 0.35f) good.push_back(hit.text);
    return update(&Rag::relevant, std::move(good)).set(&Rag::tries, s[&Rag::tries] + 1);
  });
  graph.add_node("rewrite", [&](const State& s, NodeContext& context) -> Task<Update<Rag>> {
    std::vector<Message> messages{
        Message::system("You make a short question longer, so that a search in a harbour's handbook finds the answer."),
        Message::user("When is it open?"),
        Message::assistant("At what time does the harbour open in the morning and close in the evening?"),
        Message::user(s[&Rag::question])};
    CORVID_CO_TRY(auto said, co_await ask(context, *engine, std::move(messages)));
    co_return update(&Rag::query, std::move(said.text));
  });
  graph.add_node("answer", [&](const State& s, NodeContext& context) -> Task<Update<Rag>> {
    std::string how = "You answer questions from the passages below, in one complete sentence. Use only what they say.";
    for (const auto& passage : s[&Rag::relevant]) how += "\n\n" + passage;
    std::vector<Message> messages{Message::system(std::move(how)), Message::user(s[&Rag::question])};
    CORVID_CO_TRY(auto said, co_await ask(context, *engine, std::move(messages)));
    co_return update(&Rag::answer, std::move(said.text));
  });
  const auto grade = [](const State& s) { return !s[&Rag::relevant].empty() ? "answer" : s[&Rag::tries] < 3 ? "rewrite" : "__end__"; };
  graph.add_edge(START, "retrieve").add_edge("rewrite", "retrieve").add_edge("answer", END);
  graph.add_conditional_edges("retrieve", grade, {"answer", "rewrite"});
  CORVID_TRY(auto compiled, graph.compile());
  CORVID_TRY(auto result, compiled->invoke_blocking(runtime, input(update(&Rag::question, argv[4]))));
  const auto& answer = result.get(&Rag::answer);
  std::printf("%s\n(%d searches)\n", answer.empty() ? "I found nothing about this in the documents." : answer.c_str(),
              result.get(&Rag::tries));
  return {};
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc != 5) return std::fprintf(stderr, "usage: %s MODEL.gguf EMBEDDER_FOLDER DOCUMENTS QUESTION\n", argv[0]), 2;
  if (auto status = run(argv); !status) return std::fprintf(stderr, "%s\n", status.error().describe().c_str()), 1;
}
