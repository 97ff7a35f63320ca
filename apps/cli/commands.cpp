// The commands, in the order of `corvid --help`. Adding one: a file with its class and a make_… function, one line here, and its
// source beside those of the modules that it needs in CMakeLists.txt, which sets CORVID_CLI_… for the modules that are built.
#include "apps/cli/command.hpp"

namespace corvid::cli {

#define CORVID_DECLARE(name) std::unique_ptr<Command> make_##name();
CORVID_DECLARE(ingest) CORVID_DECLARE(search) CORVID_DECLARE(ask) CORVID_DECLARE(chat) CORVID_DECLARE(collections)
CORVID_DECLARE(generate) CORVID_DECLARE(score) CORVID_DECLARE(perplexity) CORVID_DECLARE(embed) CORVID_DECLARE(tokenize)
CORVID_DECLARE(inspect) CORVID_DECLARE(bench) CORVID_DECLARE(doctor) CORVID_DECLARE(completion)
#undef CORVID_DECLARE

std::vector<std::unique_ptr<Command>> make_commands() {
  std::vector<std::unique_ptr<Command>> commands;
#if defined(CORVID_CLI_RETRIEVAL)
  commands.push_back(make_ingest());
  commands.push_back(make_search());
#endif
#if defined(CORVID_CLI_RETRIEVAL) && defined(CORVID_CLI_ENGINE)
  commands.push_back(make_ask());
  commands.push_back(make_chat());
#endif
#if defined(CORVID_CLI_RETRIEVAL)
  commands.push_back(make_collections());
#endif
#if defined(CORVID_CLI_ENGINE)
  commands.push_back(make_generate());
  commands.push_back(make_score());
  commands.push_back(make_perplexity());
#endif
#if defined(CORVID_CLI_EMBEDDER)
  commands.push_back(make_embed());
#endif
#if defined(CORVID_CLI_TOKENIZER)
  commands.push_back(make_tokenize());
#endif
  commands.push_back(make_inspect());
#if defined(CORVID_CLI_ENGINE)
  commands.push_back(make_bench());
#endif
  commands.push_back(make_doctor());
  commands.push_back(make_completion());
  return commands;
}

}  // namespace corvid::cli
