// Engine::load: from a model's file to a running engine.
#include <algorithm>
#include <chrono>

#include "corvid/runtime/offload.hpp"
#include "corvid/tensor/model_file.hpp"
#include "llm/engine/native_engine.hpp"

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

Result<std::shared_ptr<Engine>> Engine::load_blocking(Runtime& runtime, const std::filesystem::path& model, EngineOptions options) {
  const auto start = std::chrono::steady_clock::now();
  if (!options.device.is_cpu()) return fail(Error::unsupported("this build runs models on the CPU only: " + to_string(options.device) + " is not available").at_key("device"));
  if (options.max_batch_tokens < 1 || options.max_running < 1) return fail(Error::invalid_argument("max_batch_tokens and max_running must be at least 1"));
  CORVID_TRY(const auto file, ModelFile::open(model));
  CORVID_TRY(const auto config, llm::read_config(*file));
  if (file->tensors().empty()) return fail(Error::bad_input("the file holds no weights; it is only a vocabulary").at_file(model.string()));
  llm::NativeEngine::Parts parts;
  CORVID_TRY(parts.tokenizer, Tokenizer::from_model(*file));
  if (parts.tokenizer->vocab_size() > config.vocab) {
    return fail(Error::bad_input("the tokenizer has " + std::to_string(parts.tokenizer->vocab_size()) + " tokens, the embedding " + std::to_string(config.vocab) + " rows").at_file(model.string()));
  }

  OpContext ctx;
  ctx.device = options.device;
  ctx.precision = options.precision;
  ctx.pool = &runtime.pool();
  const std::uint64_t before = runtime.memory().used_bytes();
  CORVID_TRY(auto decoder, llm::Decoder::load(ctx, file, config, runtime.memory(), options.progress));
  parts.info.weight_bytes = runtime.memory().used_bytes() - before;
  parts.stepper = std::make_unique<llm::Stepper>(ctx, std::move(decoder));

  if (options.context_tokens == 0) options.context_tokens = static_cast<std::uint32_t>(std::min<std::int64_t>(config.context, kDefaultContext));
  llm::PageShape shape;
  shape.layers = config.layers;
  shape.kv_heads = config.kv_heads;
  shape.page_tokens = kPageTokens;
  shape.head_dim = config.head_dim;
  shape.dtype = options.precision == Precision::f32 ? DType::f32 : DType::f16;
  const std::uint64_t left = runtime.memory().limit_bytes() - runtime.memory().used_bytes();
  const std::uint64_t bytes = options.kv_budget_bytes != 0 ? std::min(options.kv_budget_bytes, left) : left;
  const std::uint64_t useful = (static_cast<std::uint64_t>(options.context_tokens) + kPageTokens) / kPageTokens * (options.max_running + 1ull);
  const auto pages = static_cast<std::int64_t>(std::min<std::uint64_t>({bytes / shape.bytes(), useful, 1u << 20}));
  if (pages < 1) return fail(Error::out_of_memory("the memory budget leaves no room for a single KV page of " + std::to_string(shape.bytes()) + " bytes"));
  CORVID_TRY(parts.pool, llm::PagePool::make(shape, pages, runtime.memory()));

  ModelInfo& info = parts.info;
  info.architecture = config.architecture;
  info.name = model.filename().string();
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
  return std::shared_ptr<Engine>(std::make_shared<llm::NativeEngine>(runtime, std::move(parts)));
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
