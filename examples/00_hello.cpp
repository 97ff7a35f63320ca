// Loads a model, generates, and prints the text as it comes.
//
//   00_hello MODEL.gguf "The capital of France is"
#include <corvid/llm/engine.hpp>
#include <cstdio>
#include <string>

int main(int argc, char* argv[]) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL.gguf [PROMPT]\n", argv[0]);
    return 2;
  }
  corvid::Runtime runtime;
  auto engine = corvid::Engine::load_blocking(runtime, argv[1]);
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().describe().c_str());
    return 1;
  }

  corvid::GenerateRequest request;
  request.prompt = std::string(argc > 2 ? argv[2] : "The capital of France is");
  request.max_tokens = 48;
  auto stream = (*engine)->generate(std::move(request));
  if (!stream) {
    std::fprintf(stderr, "%s\n", stream.error().describe().c_str());
    return 1;
  }
  while (auto event = stream->next_blocking()) {
    if (!*event) {
      std::fprintf(stderr, "\n%s\n", event->error().describe().c_str());
      return 1;
    }
    std::fputs((*event)->text.c_str(), stdout);
    std::fflush(stdout);
  }
  std::puts("");
}
