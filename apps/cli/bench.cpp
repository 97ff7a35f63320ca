// corvid bench: how fast, measured on this machine.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "apps/cli/bench_index.hpp"
#include "apps/cli/bench_limits.hpp"
#include "apps/cli/bench_retrieval.hpp"
#include "apps/cli/bench_statistics.hpp"
#include "apps/cli/bench_tokenize.hpp"
#include "apps/cli/command.hpp"
#include "apps/cli/json_output.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/embed/text_embedder.hpp"
#include "corvid/llm/engine.hpp"

namespace corvid::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::uint64_t peak_memory_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

/// The first documents of a data set in BEIR's layout, title and text.
Result<std::vector<std::string>> read_documents(const std::filesystem::path& folder, std::size_t most) {
  std::vector<std::filesystem::path> files;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
    if (entry.path().filename().string().starts_with("corpus") && entry.path().extension() == ".jsonl") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> documents;
  for (const auto& path : files) {
    std::ifstream file(path);
    for (std::string line; documents.size() < most && std::getline(file, line);) {
      CORVID_TRY(const Json document, parse_json(line));
      documents.push_back(document.value("title", std::string()) + " " + document.value("text", std::string()));
    }
  }
  if (documents.empty()) return fail(Error::not_found("no documents in corpus*.jsonl").at_file(folder.string()));
  return documents;
}

struct Times { double first_s = 0, rest_s = 0; std::uint64_t tokens = 0; };

/// One greedy generation: until the first token, and from there to the last.
Result<Times> generate(Session& session, Engine& engine, std::vector<TokenId> prompt, int max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  request.cancellation = session.cancellation();
  const auto begin = Clock::now();
  CORVID_TRY(auto stream, engine.generate(std::move(request)));
  Times times;
  auto first = begin;
  while (auto event = stream.next_blocking()) {
    if (!*event) return fail(std::move(event->error()));
    if (!(*event)->token) continue;
    if (times.tokens++ == 0) {
      first = Clock::now();
      times.first_s = std::chrono::duration<double>(first - begin).count();
    }
  }
  times.rest_s = seconds_since(first);
  CORVID_TRY_STATUS(session.cancellation().check());
  return times;
}

// Tokens of each request's prompt where several run at once: short, so that what counts is the generation.
constexpr std::size_t kShortPrompt = 16;

/// So many greedy generations at once, each of a prompt of its own: tokens a second of all together, from the first request to the last token.
Result<double> generate_together(Session& session, Engine& engine, std::int64_t requests, int max_tokens) {
  const auto vocab = static_cast<std::size_t>(engine.tokenizer()->vocab_size());
  std::vector<EventStream> streams;
  const auto begin = Clock::now();
  for (std::int64_t r = 0; r < requests; ++r) {
    std::vector<TokenId> prompt{engine.tokenizer()->bos().value_or(0)};
    for (std::size_t i = 1; i < kShortPrompt; ++i) prompt.push_back(static_cast<TokenId>((static_cast<std::size_t>(r) * 15485863 + i * 7919 + 17) % vocab));
    GenerateRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.ignore_eos = true;
    request.cancellation = session.cancellation();
    CORVID_TRY(auto stream, engine.generate(std::move(request)));
    streams.push_back(std::move(stream));
  }
  std::uint64_t tokens = 0;
  // An event of each in turn: none of the bounded channels fills while another is read.
  for (std::size_t open = streams.size(); open > 0;) {
    open = 0;
    for (EventStream& stream : streams) {
      auto event = stream.next_blocking();
      if (!event) continue;
      if (!*event) return fail(std::move(event->error()));
      if ((*event)->token) ++tokens;
      ++open;
    }
  }
  const double seconds = seconds_since(begin);
  CORVID_TRY_STATUS(session.cancellation().check());
  return static_cast<double>(tokens) / seconds;
}

class Bench final : public Command {
 public:
  CommandInfo info() const override {
    return {"bench", "speed of a language model, an embedder, an index or a tokenizer; quality and speed of retrieval", "  corvid bench llm --model SmolLM2-135M-Instruct-Q4_1.gguf --threads 2 --json\n  corvid bench index --vectors 100000 --dims 384 --batch 1000 --storage f16\n  corvid bench tokenize --model SmolLM2-135M-Instruct-Q4_1.gguf --file text.md\n  corvid bench retrieval --beir ./scifact --mode hybrid --json"};
  }
  void options(OptionSet& set) override {
    set.argument("WHAT", what_, true, "llm, embed, index, tokenize or retrieval");
    model_.declare(set);
    set.text("synthetic", synthetic_, "a shape with generated weights instead of --model: smollm2-135m, qwen2.5-0.5b, gemma3-270m, llama-8b");
    set.choice("quant", quant_, {"bf16", "q8_0", "q4_k_m"}, "of --synthetic");
    set.integer("prompt-tokens", prompt_tokens_, 1, 1 << 20, "of llm: tokens of the prompt; of embed: tokens of each text");
    set.integer("generate-tokens", generate_tokens_, 2, 1 << 20, "of llm: tokens that each run generates");
    set.integer("depth", depth_, 0, 1 << 20, "of llm: tokens that stand before the generated ones");
    set.integer("parallel", parallel_, 1, 1024, "of llm: above 1, so many requests at once as well, their tokens a second in all");
    set.integer("texts", texts_, 1, 1 << 20, "of embed");
    set.integer("runs", runs_, 3, 1000, "measured runs after one warm-up; the median counts");
    set.text("beir", retrieval_.folder, "folder of a BEIR data set: corpus.jsonl or corpus-*.jsonl, queries.jsonl, qrels; of embed: its first documents are the texts");
    set.choice("mode", retrieval_.mode, {"dense", "lexical", "hybrid"}, "of retrieval");
    set.text("embedder", retrieval_.embedder, "hub folder, or a name in the model folder");
    set.choice("fusion", retrieval_.fusion, {"convex", "rrf"}, "of hybrid retrieval");
    set.real("convex-weight", retrieval_.convex_weight, 0, 1, "of the dense score");
    set.text("split", retrieval_.split, "qrels/SPLIT.tsv");
    set.integer("vectors", index_.vectors, 1, 1 << 28, "of index: generated unit vectors");
    set.integer("dims", index_.dims, 1, 65536, "of index");
    set.integer("batch", index_.batch, 1, 1 << 20, "of index: queries of one call");
    set.integer("hits", index_.k, 1, 1 << 20, "of index: best rows of each query");
    set.choice("storage", index_.storage, {"f32", "f16"}, "of index");
    set.text("file", file_, "of tokenize: the text");
  }
  Status run(Session& session) override {
    if (what_ == "llm") return llm(session);
    if (what_ == "embed") return embed(session);
    if (what_ == "index") return bench_index(session, index_, runs_, model_);
    if (what_ == "tokenize") return bench_tokenize(session, model_.model, file_, runs_);
    if (what_ == "retrieval") return bench_retrieval(session, retrieval_, model_);
    return fail(Error::invalid_argument("no benchmark \"" + what_ + "\"; llm, embed, index, tokenize and retrieval are known"));
  }

 private:
  Status llm(Session& session) {
    const auto kPromptTokens = static_cast<std::size_t>(prompt_tokens_);
    const int kGenerated = static_cast<int>(generate_tokens_);
    if (model_.context_tokens == 0) model_.context_tokens = std::max<std::int64_t>(prompt_tokens_, depth_ + generate_tokens_) + 64;
    CORVID_TRY(const auto loaded, synthetic_.empty() ? load_engine(session, model_, false) : load_synthetic_engine(session, model_, synthetic_, quant_));
    Engine& engine = *loaded.engine;
    const auto vocab = engine.tokenizer()->vocab_size();
    std::vector<TokenId> prompt;  // arithmetic does not depend on which tokens they are
    for (std::size_t i = 0; i < kPromptTokens; ++i) prompt.push_back(static_cast<TokenId>((i * 7919 + 17) % static_cast<std::size_t>(vocab)));
    std::vector<TokenId> before{engine.tokenizer()->bos().value_or(prompt.front())};
    for (std::int64_t i = 1; i < depth_; ++i) before.push_back(static_cast<TokenId>((static_cast<std::size_t>(i) * 104729 + 5) % static_cast<std::size_t>(vocab)));
    std::vector<double> prefill, decode, together;
    for (std::int64_t run = 0; run <= runs_; ++run) {
      CORVID_TRY(const Times read, generate(session, engine, prompt, 1));
      CORVID_TRY(const Times written, generate(session, engine, before, kGenerated));
      if (parallel_ > 1) {
        CORVID_TRY(const double speed, generate_together(session, engine, parallel_, kGenerated));
        if (run > 0) together.push_back(speed);
      }
      if (run == 0 || written.tokens < 2) continue;  // the warm-up
      prefill.push_back(static_cast<double>(kPromptTokens) / read.first_s);
      decode.push_back(static_cast<double>(written.tokens - 1) / written.rest_s);
    }
    if (decode.empty()) return fail(Error::internal("the engine generated nothing"));
    const double gb_s = median(decode) * static_cast<double>(engine.info().step_bytes) / 1e9;
    Json out = {{"model", engine.info().name}, {"architecture", engine.info().architecture}, {"precision", model_.precision}, {"device", model_.device}, {"threads", session.runtime().pool().threads()},
                      {"prefill_tok_s", median(prefill)}, {"decode_tok_s", median(decode)}, {"prompt_tokens", kPromptTokens}, {"generated_tokens", kGenerated}, {"depth", depth_}, {"runs", runs_},
                      {"step_bytes", engine.info().step_bytes}, {"decode_gb_s", gb_s}, {"load_ms", loaded.load_ms}, {"peak_memory_bytes", peak_memory_bytes()}};
    if (parallel_ > 1) {
      out["parallel"] = parallel_;
      out["parallel_tok_s"] = median(together);
    }
    if (session.json) return session.write_json(with_limits(session, out, gb_s, 0));
    char line[240];
    if (parallel_ > 1) {
      std::snprintf(line, sizeof line, "%.1f tok/s of %lld requests at once", median(together), static_cast<long long>(parallel_));
      CORVID_TRY_STATUS(session.write_line(line));
    }
    std::snprintf(line, sizeof line, "prefill %.1f tok/s, decode %.1f tok/s, %.1f GB/s of weights (%zu and %d tokens, median of %lld runs, %d threads)", median(prefill), median(decode), gb_s, kPromptTokens, kGenerated, static_cast<long long>(runs_), session.runtime().pool().threads());
    return session.write_line(line);
  }

  Status embed(Session& session) {
    CORVID_TRY(const auto path, find_model(retrieval_.embedder.empty() ? kDefaultEmbedder : retrieval_.embedder));
    CORVID_TRY(const auto embedder, load_embedder(session, path, model_));
    // A word of one token, so often that the text has the tokens asked for.
    std::string text;
    for (std::int64_t i = 0; i + 2 < prompt_tokens_; ++i) text += "water ";
    std::vector<std::string_view> texts(static_cast<std::size_t>(texts_), text);
    std::vector<std::string> documents;
    if (!retrieval_.folder.empty()) {
      CORVID_TRY(documents, read_documents(retrieval_.folder, texts.size()));
      texts.assign(documents.begin(), documents.end());
    }
    std::vector<double> speeds;
    std::uint64_t tokens = 0;
    for (std::int64_t run = 0; run <= runs_; ++run) {
      const auto begin = Clock::now();
      CORVID_TRY(const auto result, embedder->embed(texts, session.cancellation()));
      tokens = std::accumulate(result.tokens.begin(), result.tokens.end(), std::uint64_t{0}) / result.tokens.size();
      if (run > 0) speeds.push_back(static_cast<double>(texts.size()) / seconds_since(begin));
    }
    const Json out = {{"embedder", path.filename().string()}, {"precision", model_.precision}, {"device", model_.device}, {"threads", session.runtime().pool().threads()},
                      {"texts_s", median(speeds)}, {"tokens_per_text", tokens}, {"texts", texts.size()}, {"runs", runs_}, {"peak_memory_bytes", peak_memory_bytes()}};
    if (session.json) return session.write_json(with_limits(session, out, 0, median(speeds) * static_cast<double>(tokens) * encoder_operations(path) / 1e9));
    char line[200];
    std::snprintf(line, sizeof line, "%.1f texts/s of %llu tokens (%zu texts, median of %lld runs)", median(speeds), static_cast<unsigned long long>(tokens), texts.size(), static_cast<long long>(runs_));
    return session.write_line(line);
  }

  // What the machine reaches in the same run, and the figure's share of it; a device's limits are not measured.
  Json with_limits(Session& session, Json out, double gb_s, double gop_s) {
    if (model_.device != "cpu") return out;
    const MachineLimits limits = measure_limits(session.runtime().pool());
    out["limits"] = limits_json(limits);
    if (gb_s > 0) out["share_of_read"] = share_of(gb_s, limits.read_gb_s);
    if (gop_s > 0) {
      out["gop_s"] = gop_s;
      out["share_of_f32"] = share_of(gop_s, limits.f32_gflop_s);
      out["share_of_bf16"] = share_of(gop_s, limits.bf16_gflop_s);
      out["share_of_int8"] = share_of(gop_s, limits.int8_gop_s);
    }
    return out;
  }
  // Of one token in an encoder's matrix products, from the folder's config.json; 0 where it does not say.
  static double encoder_operations(const std::filesystem::path& folder) {
    const auto config = read_json_file(folder / "config.json");
    const auto number = [&](const char* key) { return config->contains(key) && (*config)[key].is_number() ? (*config)[key].get<double>() : 0.0; };
    if (!config || !config->is_object()) return 0;
    const double width = number("hidden_size");
    return 2 * number("num_hidden_layers") * width * (4 * width + 2 * number("intermediate_size"));
  }

  std::string file_;
  IndexBench index_;
  std::string what_, synthetic_, quant_ = "bf16";
  std::int64_t prompt_tokens_ = 512, generate_tokens_ = 128, texts_ = 1024, depth_ = 0, parallel_ = 1;
  ModelOptions model_;
  std::int64_t runs_ = 3;
  RetrievalBench retrieval_;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<Bench>(); }

}  // namespace corvid::cli
