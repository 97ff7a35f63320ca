// corvid score and corvid perplexity: log probabilities of a given text.
#include <cstdio>
#include <limits>

#include "apps/cli/command.hpp"
#include "apps/cli/json_output.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"

namespace corvid::cli {

namespace {

Result<std::vector<TokenId>> ids_from_json(const std::string& text) {
  CORVID_TRY(const Json json, parse_json(text));
  if (!json.is_array()) return fail(Error::bad_input("--ids needs a JSON array of token ids on standard input").at_offset(0));
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const bool fits = json[i].is_number_integer() && json[i] >= 0 && json[i] <= std::numeric_limits<TokenId>::max();
    if (!fits) return fail(Error::bad_input("element " + std::to_string(i) + " of the ids is not a token id").at_key("/" + std::to_string(i)));
    ids.push_back(json[i].get<TokenId>());
  }
  return ids;
}

class Score final : public Command {
 public:
  CommandInfo info() const override { return {"score", "log probability of each token of a text", "  corvid score --top 5 --json < text\n  echo '[1, 2, 3]' | corvid score --ids --json"}; }
  void options(OptionSet& set) override {
    model_.declare(set);
    set.flag("ids", ids_, "standard input is a JSON array of token ids, taken as they are");
    set.integer("top", top_, 0, 100000, "also the K best next tokens after each");
  }
  Status run(Session& session) override {
    CORVID_TRY(const std::string text, read_stdin());
    std::vector<TokenId> ids;
    if (ids_) {
      CORVID_TRY(ids, ids_from_json(text));
    }
    CORVID_TRY(const auto loaded, load_engine(session, model_));
    if (!ids_) {
      CORVID_TRY(ids, loaded.engine->tokenizer()->encode(text));
    }
    CORVID_TRY(const auto result, session.runtime().wait(loaded.engine->score(std::move(ids), static_cast<int>(top_), session.cancellation())));
    if (session.json) {
      Json logprobs = Json::array();
      for (const auto& value : result.logprobs) logprobs.push_back(value ? Json(*value) : Json(nullptr));
      return session.write_json({{"token_ids", result.token_ids}, {"logprobs", std::move(logprobs)}, {"top", top_json(result.top)}});
    }
    for (std::size_t i = 0; i < result.token_ids.size(); ++i) {
      char number[32] = "-";
      if (result.logprobs[i]) std::snprintf(number, sizeof number, "%.6f", static_cast<double>(*result.logprobs[i]));
      CORVID_TRY_STATUS(session.write_line(std::to_string(result.token_ids[i]) + '\t' + number + '\t' + dump_json(Json(loaded.engine->tokenizer()->token_bytes(result.token_ids[i], true)))));
    }
    return {};
  }

 private:
  ModelOptions model_;
  bool ids_ = false;
  std::int64_t top_ = 0;
};

class Perplexity final : public Command {
 public:
  CommandInfo info() const override { return {"perplexity", "perplexity of a text file, over windows as llama.cpp takes them", "  corvid perplexity --file wiki.txt --context 512 --json"}; }
  void options(OptionSet& set) override {
    model_.declare(set, false);
    set.text("file", file_, "the text; standard input when left out");
    set.integer("context", context_, 8, 1 << 24, "tokens of a window");
  }
  Status run(Session& session) override {
    std::string text;
    if (file_.empty()) {
      CORVID_TRY(text, read_stdin());
    } else {
      CORVID_TRY(text, read_bytes(file_));
    }
    model_.context_tokens = context_;
    CORVID_TRY(const auto loaded, load_engine(session, model_));
    CORVID_TRY(auto ids, loaded.engine->tokenizer()->encode(text));
    CORVID_TRY(const auto result, session.runtime().wait(loaded.engine->perplexity(std::move(ids), static_cast<std::uint32_t>(context_), session.progress(), session.cancellation())));
    session.end_progress();
    if (session.json) return session.write_json({{"perplexity", result.perplexity}, {"tokens", result.tokens}});
    char line[96];
    std::snprintf(line, sizeof line, "perplexity %.4f over %llu tokens", result.perplexity, static_cast<unsigned long long>(result.tokens));
    return session.write_line(line);
  }

 private:
  ModelOptions model_;
  std::string file_;
  std::int64_t context_ = 512;
};

}  // namespace

std::unique_ptr<Command> make_score() { return std::make_unique<Score>(); }
std::unique_ptr<Command> make_perplexity() { return std::make_unique<Perplexity>(); }

}  // namespace corvid::cli
