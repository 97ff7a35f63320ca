// Engine: a language model on one device, serving many requests at once.
//
//   Runtime runtime;
//   CORVID_TRY(auto engine, runtime.wait(Engine::load(runtime, "SmolLM2-135M-Instruct-Q4_1.gguf")));
//   GenerateRequest request;
//   request.prompt = "The capital of France is";
//   CORVID_TRY(auto stream, engine->generate(std::move(request)));
//   while (auto event = stream.next_blocking()) { … }
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "corvid/base/progress.hpp"
#include "corvid/base/task.hpp"
#include "corvid/compute/op_context.hpp"
#include "corvid/llm/chat_model.hpp"
#include "corvid/llm/generation.hpp"
#include "corvid/llm/sequence.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid {

struct EngineOptions {
  Device device{};
  Precision precision = Precision::fast;
  std::uint32_t context_tokens = 0;       ///< longest sequence; 0 = what the model's file says, at most 8,192
  std::uint32_t max_batch_tokens = 0;     ///< rows of one step, prompt chunks and decode tokens together; 0 = 512 on the CPU, 2,048 on a device
  std::uint32_t max_running = 64;         ///< sequences that decode together; more wait in the queue
  std::uint64_t kv_budget_bytes = 0;      ///< of the KV pool; 0 = whatever the runtime's budget leaves
  bool prefix_cache = true;               ///< keep finished prompts' pages for reuse until their room is needed
  bool record_steps = true;               ///< on a device: small decode steps are recorded once and then queued as one piece
  /// Of where saved sequences go, there and back: decides whether their KV is worth keeping (KeepKv::automatic). The default lies between
  /// a durable insert into SQLite, 230 … 370 MB/s where it was measured, and reading it back, 1,100 … 1,600; a SATA SSD sustains it.
  double disk_bytes_per_s = 500e6;
  ProgressSink progress;                  ///< weight loading
};

struct GenerateRequest {
  std::variant<std::string, std::vector<TokenId>> prompt;  ///< raw text (BOS as the model adds it), or ids taken as they are
  bool parse_special = false;                              ///< for a text prompt
  SamplingParams sampling;
  int max_tokens = 512;
  std::vector<std::string> stop;                           ///< stop strings; found across token borders
  std::vector<TokenId> stop_tokens;                        ///< beside the model's own end-of-generation tokens
  bool ignore_eos = false;
  int beams = 1;                                           ///< > 1: beam search, length-normalised log probability; no sampling
  float beam_length_penalty = 1.0f;                        ///< score = logprob / length^penalty
  std::shared_ptr<TokenConstraint> constraint;
  CancellationToken cancellation;
};

/// Per-token scores of a given sequence.
struct ScoreResult {
  std::vector<TokenId> token_ids;
  std::vector<std::optional<float>> logprobs;              ///< natural log; [0] is nullopt
  std::vector<std::vector<TokenLogprob>> top;              ///< top[i]: the best next tokens after reading ids 0…i
};

struct PerplexityResult { double perplexity = 0; std::uint64_t tokens = 0; std::vector<double> running; };

/// Facts about the loaded model.
struct ModelInfo {
  std::string architecture;                // "llama", "qwen2", …
  std::string name;
  std::string identity;                    // ModelFile::identity()
  std::uint32_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0, width = 0, vocab = 0;
  std::uint32_t trained_context_tokens = 0;
  std::uint64_t weight_bytes = 0, kv_bytes_per_token = 0;
  std::uint64_t step_bytes = 0;            ///< stored bytes of the weights that each step reads
  std::string chat_template;               // empty when the file has none
};

/// Thread-safe. Destroying it cancels what runs.
class Engine : public ChatModel, public std::enable_shared_from_this<Engine> {
 public:
  /// A GGUF file, or a hub folder. Errors: as ModelFile::open and Tokenizer::from_model, unsupported (architecture, rope kind,
  /// device), bad_input (shapes contradict the hyperparameters), out_of_memory.
  static Task<std::shared_ptr<Engine>> load(Runtime& runtime, std::filesystem::path model, EngineOptions options = {});
  static Result<std::shared_ptr<Engine>> load_blocking(Runtime& runtime, const std::filesystem::path& model, EngineOptions options = {});
  /// A model of a known shape with random weights, for measuring speed without a file: its text means nothing. shape: smollm2-135m,
  /// qwen2.5-0.5b, gemma3-270m, llama-8b; quant: bf16, q8_0, q4_k_m (mixed as llama.cpp mixes it). Errors: invalid_argument, as load.
  static Result<std::shared_ptr<Engine>> synthetic_blocking(Runtime& runtime, std::string_view shape, std::string_view quant, EngineOptions options = {});

  /// Queues a request. Errors: invalid_argument (parameters), limit_exceeded (prompt over the context), bad_input (ids out of range).
  virtual Result<EventStream> generate(GenerateRequest request) = 0;
  /// Log probabilities of the given tokens. ids as they are. Errors as generate.
  virtual Task<ScoreResult> score(std::vector<TokenId> ids, int top_k, CancellationToken cancellation = {}) = 0;
  /// llama.cpp's definition: windows of `context` ids without overlap, the tail dropped, a window's first id replaced by BOS where
  /// the model adds one, ids context/2+1 … context-1 of each scored.
  virtual Task<PerplexityResult> perplexity(std::vector<TokenId> ids, std::uint32_t context, ProgressSink progress = {}, CancellationToken cancellation = {}) = 0;

  /// A sequence of this engine's KV pool, for callers that drive the model themselves (graphs, agents).
  virtual Result<Sequence> new_sequence() = 0;
  /// `constraints` makes a saved constraint again from what its save() gave; needed only where there was one. A save without KV is
  /// read again: this blocks for its prefill.
  /// Errors: bad_input (damaged), conflict (another model or KV format), limit_exceeded (longer than the context), out_of_memory,
  /// invalid_argument (no `constraints`), those of it.
  virtual Result<Sequence> restore_sequence(std::span<const std::byte> saved, const ConstraintFactory& constraints = {}) = 0;
  /// The same, but what can be made again from the tokens is, and the note says so: KV that is damaged, cut off or of another format, and
  /// KV of another model with the same tokenizer (its next tokens are then this model's). Sampler and constraint go on where they were.
  /// Errors: bad_input (tokens or sampler damaged), conflict (another model and another, or an unknown, tokenizer), else as above.
  virtual Result<RestoredSequence> restore_or_recompute(std::span<const std::byte> saved, const ConstraintFactory& constraints = {}) = 0;
  /// Continues `sequence` in place: its tokens, and the prompt behind them (a text without BOS), are read; new ones are appended to it
  /// when the stream ends. Until the last event it is empty and must be left alone. Its own sampler and constraint go on where
  /// it has them; a constraint of the request comes first and holds for this request. Errors: invalid_argument (another engine's), as generate.
  virtual Result<EventStream> continue_sequence(Sequence& sequence, GenerateRequest request) = 0;

  virtual const ModelInfo& info() const noexcept = 0;
  virtual const std::shared_ptr<const Tokenizer>& tokenizer() const noexcept = 0;
  /// The prompt text that chat() would send. Errors: unsupported (no template), as ChatTemplate::render.
  virtual Result<std::string> render_chat(const ChatRequest& request) const = 0;
  /// The prompt as chat() sends it. Markers of control tokens in the messages stay text: only the template opens and ends turns. (A template
  /// whose marks are plain text for its tokenizer, "[INST]" of the first Llama say, cannot be told from a message that writes the same.)
  /// Errors: as render_chat, those of the tokenizer.
  virtual Result<std::vector<TokenId>> chat_tokens(const ChatRequest& request) const = 0;
  virtual GenerationTimings load_timings() const noexcept = 0;
};

}  // namespace corvid
