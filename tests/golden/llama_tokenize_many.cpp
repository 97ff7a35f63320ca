// The peer's side of check_tokenizer_parity.py: as tokenize_many.cpp, but with llama.cpp; INT32_MIN where it throws. Built by hand where llama.cpp is:
//
//   g++ -std=c++17 -O2 -I$LLAMA/include -I$LLAMA/ggml/include llama_tokenize_many.cpp -o llama_tokenize_many \
//       $BUILD/src/libllama.a $BUILD/ggml/src/libggml.a $BUILD/ggml/src/libggml-cpu.a $BUILD/ggml/src/libggml-base.a -fopenmp -lpthread -ldl
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include "llama.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = llama_model_load_from_file(argv[1], params);
  if (!model) return 3;
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const std::string mode = argv[2];
  std::uint32_t length = 0;
  std::string text;
  std::vector<llama_token> ids;
  while (std::fread(&length, sizeof length, 1, stdin) == 1) {
    text.resize(length);
    if (length != 0 && std::fread(text.data(), 1, length, stdin) != length) return 1;
    ids.resize(length + 16);
    std::int32_t count = 0;
    try {
      count = llama_tokenize(vocab, text.data(), static_cast<std::int32_t>(length), ids.data(), static_cast<std::int32_t>(ids.size()), mode == "special", mode == "parse");
    } catch (const std::exception&) {
      count = std::numeric_limits<std::int32_t>::min();
    }
    std::fwrite(&count, sizeof count, 1, stdout);
    if (count > 0) std::fwrite(ids.data(), sizeof(llama_token), static_cast<std::size_t>(count), stdout);
  }
  llama_model_free(model);
  return 0;
}
