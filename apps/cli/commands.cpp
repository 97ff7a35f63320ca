// The commands, in the order of `corvid --help`. Adding one: a file with its class and a make_… function, and two lines here.
#include "apps/cli/command.hpp"

namespace corvid::cli {

#define CORVID_DECLARE(name) std::unique_ptr<Command> make_##name();
CORVID_DECLARE(ingest) CORVID_DECLARE(search) CORVID_DECLARE(ask) CORVID_DECLARE(chat) CORVID_DECLARE(collections) CORVID_DECLARE(graph) CORVID_DECLARE(approvals)
CORVID_DECLARE(generate) CORVID_DECLARE(score) CORVID_DECLARE(perplexity) CORVID_DECLARE(embed) CORVID_DECLARE(tokenize)
CORVID_DECLARE(inspect) CORVID_DECLARE(bench) CORVID_DECLARE(doctor) CORVID_DECLARE(completion)
#undef CORVID_DECLARE

std::vector<std::unique_ptr<Command>> make_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_ingest());
  commands.push_back(make_search());
  commands.push_back(make_ask());
  commands.push_back(make_chat());
  commands.push_back(make_collections());
  commands.push_back(make_graph());
  commands.push_back(make_approvals());
  commands.push_back(make_generate());
  commands.push_back(make_score());
  commands.push_back(make_perplexity());
  commands.push_back(make_embed());
  commands.push_back(make_tokenize());
  commands.push_back(make_inspect());
  commands.push_back(make_bench());
  commands.push_back(make_doctor());
  commands.push_back(make_completion());
  return commands;
}

}  // namespace corvid::cli
