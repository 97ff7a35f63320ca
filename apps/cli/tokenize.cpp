// corvid tokenize: bytes of standard input to token ids.
#include "corvid/text/tokenizer.hpp"

#include "apps/cli/command.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"

namespace corvid::cli {

namespace {

class Tokenize final : public Command {
 public:
  CommandInfo info() const override {
    return {"tokenize", "text on standard input to token ids", "  corvid tokenize --model SmolLM2-135M-Instruct-Q4_1.gguf --json < text\n  printf 'Hello' | corvid tokenize --model all-MiniLM-L6-v2 --no-special"};
  }
  void options(OptionSet& set) override {
    set.text("model", model_, "GGUF file, folder with tokenizer.json, or a name in the model folder");
    set.flag("no-special", no_special_, "add no BOS, EOS or CLS");
    set.flag("parse-special", parse_special_, "markers of control tokens in the text become those tokens");
  }
  Status run(Session& session) override {
    CORVID_TRY(const auto path, find_model(model_));
    CORVID_TRY(const auto tokenizer, Tokenizer::open(path));
    CORVID_TRY(const std::string text, read_stdin());
    EncodeOptions encode;
    encode.add_special = !no_special_;
    encode.parse_special = parse_special_;
    CORVID_TRY(const auto ids, tokenizer->encode(text, encode));
    if (session.json) return session.write_json(Json(ids));
    for (const TokenId id : ids) {
      CORVID_TRY_STATUS(session.write_line(std::to_string(id) + '\t' + dump_json(Json(tokenizer->token_bytes(id, true)))));
    }
    return {};
  }

 private:
  std::string model_ = kDefaultModel;
  bool no_special_ = false, parse_special_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize() { return std::make_unique<Tokenize>(); }

}  // namespace corvid::cli
