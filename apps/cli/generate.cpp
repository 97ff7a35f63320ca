// corvid generate: continues a prompt.
#include <chrono>

#include "apps/cli/command.hpp"
#include "apps/cli/json_output.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"

namespace corvid::cli {

namespace {

class Generate final : public Command {
 public:
  CommandInfo info() const override {
    return {"generate", "continue a prompt", "  corvid generate \"Write a haiku about rain\"\n  corvid generate --raw --temperature 0 --max-tokens 32 --json \"The capital of France is\"\n  corvid generate --model gemma-3-270m-Q4_K_M.gguf --raw < prompt.txt"};
  }
  void options(OptionSet& set) override {
    model_.declare(set);
    set.argument("PROMPT", prompt_, false, "the prompt; standard input when left out");
    set.flag("raw", raw_, "the prompt is the model's text itself, not a user's message in its chat template");
    set.flag("parse-special", parse_special_, "with --raw: markers of control tokens become those tokens");
    set.text("system", system_, "the system message, without --raw");
    set.integer("max-tokens", max_tokens_, 1, 1 << 24, "tokens at most");
    set.real("temperature", temperature_, 0, 100, "0 takes the best token");
    set.integer("top-k", top_k_, 0, 1 << 24, "draw from the K best tokens; 0 = all");
    set.real("top-p", top_p_, 0, 1, "draw from the best tokens of this probability together");
    set.real("min-p", min_p_, 0, 1, "drop tokens below this part of the best one's probability");
    set.real("typical-p", typical_p_, 0, 1, "locally typical sampling");
    set.real("repetition-penalty", repetition_, 0, 100, "over 1 discourages tokens seen");
    set.real("presence-penalty", presence_, -100, 100, "subtracted once from tokens seen");
    set.real("frequency-penalty", frequency_, -100, 100, "subtracted from tokens seen, per occurrence");
    set.integer("seed", seed_, 0, INT64_MAX, "of the random generator");
    set.texts("stop", stop_, "end before this text; may be repeated");
    set.integer("logprobs", logprobs_, -1, 1000, "report log probabilities and the K best tokens");
    set.integer("beams", beams_, 1, 64, "beam search over 1");
    set.flag("ignore-eos", ignore_eos_, "go on after the model's end token (with --raw)");
    set.real("timeout", timeout_, 0, 1e9, "seconds until finish_reason deadline; 0 = none");
  }
  Status run(Session& session) override {
    if (prompt_.empty()) {
      CORVID_TRY(prompt_, read_stdin());
    }
    CORVID_TRY_STATUS(check());
    LoadedEngine engine;
    LoadedChatModel model;
    if (raw_) {
      CORVID_TRY(engine, load_engine(session, model_));
    } else {
      CORVID_TRY(model, load_chat_model(session, model_));
    }
    const double load_ms = raw_ ? engine.load_ms : model.load_ms;
    CancellationSource limit(session.cancellation());
    if (timeout_ > 0) limit.set_deadline(std::chrono::steady_clock::now() + std::chrono::microseconds(static_cast<std::int64_t>(timeout_ * 1e6)));
    CORVID_TRY(auto stream, raw_ ? go_on(*engine.engine, limit.token()) : answer(session, *model.model, limit.token()));
    GenerationResult result;
    if (session.json) {
      CORVID_TRY(result, gather_blocking(std::move(stream)));
      Json out = {{"text", result.text}, {"token_ids", result.token_ids}, {"finish_reason", std::string(to_string(result.finish_reason))},
                  {"usage", usage_json(result.usage)}, {"timings", timings_json(result.timings, load_ms)}};
      if (logprobs_ >= 0) {
        out["logprobs"] = result.logprobs;
        out["top"] = top_json(result.top_logprobs);
      }
      return session.write_json(out);
    }
    while (auto event = stream.next_blocking()) {
      if (!*event) return fail(std::move(event->error()));
      if (!(*event)->text.empty()) CORVID_TRY_STATUS(session.write((*event)->text));
    }
    return session.write("\n");
  }

 private:
  SamplingParams sampling() const {
    SamplingParams params;
    params.temperature = static_cast<float>(temperature_);
    params.top_k = static_cast<int>(top_k_);
    params.top_p = static_cast<float>(top_p_);
    params.min_p = static_cast<float>(min_p_);
    params.typical_p = static_cast<float>(typical_p_);
    params.repetition_penalty = static_cast<float>(repetition_);
    params.presence_penalty = static_cast<float>(presence_);
    params.frequency_penalty = static_cast<float>(frequency_);
    params.seed = static_cast<std::uint64_t>(seed_);
    params.logprobs = static_cast<int>(logprobs_);
    return params;
  }

  Status check() const {
    if (raw_ && !model_.endpoint.empty()) return fail(Error::invalid_argument("--raw needs a model of this machine: an endpoint takes messages").at_key("raw"));
    if (!raw_ && (beams_ > 1 || ignore_eos_ || parse_special_)) return fail(Error::invalid_argument("--beams, --ignore-eos and --parse-special need --raw"));
    return {};
  }

  Result<EventStream> go_on(Engine& engine, CancellationToken cancellation) {
    GenerateRequest request;
    request.prompt = prompt_;
    request.parse_special = parse_special_;
    request.sampling = sampling();
    request.max_tokens = static_cast<int>(max_tokens_);
    request.stop = stop_;
    request.ignore_eos = ignore_eos_;
    request.beams = static_cast<int>(beams_);
    request.cancellation = std::move(cancellation);
    return engine.generate(std::move(request));
  }

  Result<EventStream> answer(Session& session, ChatModel& model, CancellationToken cancellation) {
    ChatRequest request;
    if (!system_.empty()) request.messages.push_back(Message::system(system_));
    request.messages.push_back(Message::user(prompt_));
    request.sampling = sampling();
    request.max_tokens = static_cast<int>(max_tokens_);
    request.stop = stop_;
    request.cancellation = std::move(cancellation);
    return session.runtime().wait(model.chat(std::move(request)));
  }

  ChatModelOptions model_;
  std::string prompt_, system_;
  bool raw_ = false, parse_special_ = false, ignore_eos_ = false;
  std::int64_t max_tokens_ = 512, top_k_ = 0, seed_ = 0, logprobs_ = -1, beams_ = 1;
  double temperature_ = 0, top_p_ = 1, min_p_ = 0, typical_p_ = 1, repetition_ = 1, presence_ = 0, frequency_ = 0, timeout_ = 0;
  std::vector<std::string> stop_;
};

}  // namespace

std::unique_ptr<Command> make_generate() { return std::make_unique<Generate>(); }

}  // namespace corvid::cli
