// Engine::load: from a model's file to a running engine.
#include <algorithm>
#include <chrono>
#include <system_error>

#include "corvid/runtime/offload.hpp"
#include "corvid/tensor/model_file.hpp"
#include "llm/engine/native_engine.hpp"
#include "llm/engine/synthetic.hpp"

namespace corvid {
namespace {

constexpr std::uint32_t kDefaultContext = 8192;
// A page of 32 tokens: a fork copies at most 31, and a table stays short at long contexts.
constexpr std::int64_t kPageTokens = 32;

Result<std::string> chat_template_source(const ModelFile& file) {
  if (file.format() == ModelFormat::gguf) {
    CORVID_TRY(const auto text, file.metadata().string("tokenizer.chat_template"));
    return std::string(text.value_or(""));
  }
  CORVID_TRY(const auto config, file.sibling_json("tokenizer_config.json"));
  if (config && config->is_object() && config->contains("chat_template") && (*config)["chat_template"].is_string()) return (*config)["chat_template"].get<std::string>();
  return std::string();
}

}  // namespace

namespace llm {

Result<std::shared_ptr<Engine>> assemble(Runtime& runtime, std::shared_ptr<const ModelFile> file, const LlmConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                                         EngineOptions options) {
  const auto start = std::chrono::steady_clock::now();
  if (!(options.disk_bytes_per_s > 0)) return fail(Error::invalid_argument("disk_bytes_per_s must be above 0").at_key("disk_bytes_per_s"));
  NativeEngine::Parts parts;
  parts.tokenizer = std::move(tokenizer);
  CORVID_TRY(const DeviceAccess access, open_device(runtime, options.device));
  if (options.max_batch_tokens == 0) options.max_batch_tokens = options.device.is_cpu() ? 512 : 2048;
  MemoryBudget& memory = *access.memory;
  OpContext ctx;
  ctx.device = options.device;
  ctx.precision = options.precision;
  ctx.pool = &runtime.pool();
  ctx.stream = access.stream.get();
  if (options.context_tokens == 0) options.context_tokens = static_cast<std::uint32_t>(std::min<std::int64_t>(config.context, kDefaultContext));
  const std::int64_t longest = (static_cast<std::int64_t>(options.context_tokens) + kPageTokens) / kPageTokens;
  const StepLimits limits{std::max<std::int64_t>(options.max_batch_tokens, Decoder::kLogitRows), longest, options.record_steps};
  const std::uint64_t before = memory.used_bytes();
  CORVID_TRY(auto decoder, Decoder::load(ctx, file, config, limits, memory, options.progress));
  parts.info.weight_bytes = memory.used_bytes() - before;
  parts.info.step_bytes = decoder->step_bytes();
  parts.stepper = std::make_unique<Stepper>(ctx, access.stream, std::move(decoder));

  PageShape shape;
  shape.layers = config.layers;
  shape.kv_heads = config.kv_heads;
  shape.page_tokens = kPageTokens;
  shape.head_dim = config.head_dim;
  shape.dtype = options.precision == Precision::f32 ? DType::f32 : DType::f16;
  // A device's pages are allocated at once: half of what is left, so that an embedder or another model finds room beside them.
  const std::uint64_t rest = memory.limit_bytes() - memory.used_bytes(), left = options.device.is_cpu() ? rest : rest / 2;
  const std::uint64_t bytes = options.kv_budget_bytes != 0 ? std::min(options.kv_budget_bytes, rest) : left;
  const std::uint64_t useful = static_cast<std::uint64_t>(longest) * (options.max_running + 1ull);
  const auto pages = static_cast<std::int64_t>(std::min<std::uint64_t>({bytes / shape.bytes(), useful, 1u << 20}));
  if (pages < 1) return fail(Error::out_of_memory("the memory budget leaves no room for a single KV page of " + std::to_string(shape.bytes()) + " bytes"));
  CORVID_TRY(parts.pool, PagePool::make(ctx, shape, pages, memory));

  ModelInfo& info = parts.info;
  info.architecture = config.architecture;
  info.name = file->path().filename().string();
  info.identity = file->identity();
  info.layers = static_cast<std::uint32_t>(config.layers);
  info.heads = static_cast<std::uint32_t>(config.heads);
  info.kv_heads = static_cast<std::uint32_t>(config.kv_heads);
  info.head_dim = static_cast<std::uint32_t>(config.head_dim);
  info.width = static_cast<std::uint32_t>(config.width);
  info.vocab = static_cast<std::uint32_t>(config.vocab);
  info.trained_context_tokens = static_cast<std::uint32_t>(config.context);
  info.kv_bytes_per_token = shape.bytes() / static_cast<std::uint64_t>(kPageTokens);
  CORVID_TRY(info.chat_template, chat_template_source(*file));
  if (!info.chat_template.empty()) {
    auto parsed = ChatTemplate::parse(info.chat_template);
    // A model without a usable template still generates from raw prompts; chat() will say that it has none.
    if (parsed) parts.chat_template.emplace(std::move(*parsed));
    else runtime.log(LogLevel::warn, "engine", "the model's chat template cannot be used: " + parsed.error().describe());
  }
  if (const auto bos = parts.tokenizer->bos()) parts.bos_text = parts.tokenizer->token_bytes(*bos, true);
  if (const auto eos = parts.tokenizer->eos()) parts.eos_text = parts.tokenizer->token_bytes(*eos, true);
  parts.options = std::move(options);
  parts.load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  try {
    return std::shared_ptr<Engine>(std::make_shared<NativeEngine>(runtime, std::move(parts)));
  } catch (const std::system_error& thrown) {
    return fail(Error::limit_exceeded(std::string("no thread could be started for the engine: ") + thrown.what()));
  }
}

}  // namespace llm

Result<std::shared_ptr<Engine>> Engine::load_blocking(Runtime& runtime, const std::filesystem::path& model, EngineOptions options) {
  if (options.max_running < 1) return fail(Error::invalid_argument("max_running must be at least 1"));
  CORVID_TRY(const auto file, ModelFile::open(model));
  CORVID_TRY(const auto config, llm::read_config(*file));
  if (file->tensors().empty()) return fail(Error::bad_input("the file holds no weights; it is only a vocabulary").at_file(model.string()));
  CORVID_TRY(auto tokenizer, Tokenizer::from_model(*file));
  if (tokenizer->vocab_size() > config.vocab) {
    return fail(Error::bad_input("the tokenizer has " + std::to_string(tokenizer->vocab_size()) + " tokens, the embedding " + std::to_string(config.vocab) + " rows").at_file(model.string()));
  }
  return llm::assemble(runtime, file, config, std::move(tokenizer), std::move(options));
}

Result<std::shared_ptr<Engine>> Engine::synthetic_blocking(Runtime& runtime, std::string_view shape, std::string_view quant, EngineOptions options) {
  CORVID_TRY(auto model, llm::synthetic_model(runtime, shape, quant, options.device));
  return llm::assemble(runtime, std::move(model.file), model.config, std::move(model.tokenizer), std::move(options));
}

Task<std::shared_ptr<Engine>> Engine::load(Runtime& runtime, std::filesystem::path model, EngineOptions options) {
  auto job = [&runtime, model = std::move(model), options = std::move(options)]() mutable { return load_blocking(runtime, model, std::move(options)); };
  co_return co_await offload(runtime, std::move(job));
}

Task<void> Sequence::append(std::vector<TokenId> ids, CancellationToken cancellation) {
  auto job = [this, ids = std::move(ids), cancellation = std::move(cancellation)]() mutable { return append_blocking(std::move(ids), cancellation); };
  co_return co_await offload(impl_->host->runtime(), std::move(job));
}

}  // namespace corvid
