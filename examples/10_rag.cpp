// Reads a folder into a collection and answers a question from it, with checked citations.
//
//   10_rag MODEL.gguf EMBEDDER_FOLDER DOCUMENTS "How do I install it?"
#include <corvid/agents/rag.hpp>
#include <corvid/llm/engine.hpp>
#include <corvid/retrieval/collection.hpp>
#include <cstdio>

namespace {

corvid::Status run(char* argv[]) {
  corvid::Runtime runtime;
  CORVID_TRY(auto workspace, corvid::Workspace::open("rag.db"));
  const corvid::EmbedderFactory embedders = [&](const std::filesystem::path& folder) {
    return corvid::TextEmbedder::load(runtime, folder);
  };
  CORVID_TRY(auto collection, corvid::Collection::open_or_create(runtime, workspace, "default", embedders, argv[2]));
  CORVID_TRY(auto report, collection->ingest({argv[3]}, {}));
  std::printf("%llu files, %llu chunks\n\n", static_cast<unsigned long long>(report.files), static_cast<unsigned long long>(report.chunks));

  CORVID_TRY(auto engine, corvid::Engine::load_blocking(runtime, argv[1]));
  corvid::RagPipeline rag(runtime, collection, engine);
  CORVID_TRY(auto answer, rag.ask(argv[4], {}));
  std::printf("%s\n", answer.answer.c_str());
  for (const auto& citation : answer.citations) {
    std::printf("[%d] %s, lines %llu-%llu%s\n", citation.n, citation.hit.source.c_str(),
                static_cast<unsigned long long>(citation.hit.lines.first), static_cast<unsigned long long>(citation.hit.lines.last),
                citation.by == corvid::Citation::By::attribution ? " (attributed)" : "");
  }
  return {};
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s MODEL.gguf EMBEDDER_FOLDER DOCUMENTS QUESTION\n", argv[0]);
    return 2;
  }
  if (auto status = run(argv); !status) {
    std::fprintf(stderr, "%s\n", status.error().describe().c_str());
    return 1;
  }
}
