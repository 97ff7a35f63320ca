#include <chrono>

#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/llm/engine.hpp"

namespace corvid::cli {

namespace fs = std::filesystem;

namespace {

Result<EngineOptions> engine_options(Session& session, const ModelOptions& options, bool prefix_cache) {
  EngineOptions out;
  CORVID_TRY(out.device, parse_device(options.device));
  out.precision = options.precision == "f32" ? Precision::f32 : Precision::fast;
  out.context_tokens = static_cast<std::uint32_t>(options.context_tokens);
  out.prefix_cache = prefix_cache;
  out.progress = session.progress();
  return out;
}

template <class Load>
Result<LoadedEngine> timed(Session& session, Load load) {
  const auto begin = std::chrono::steady_clock::now();
  LoadedEngine loaded;
  CORVID_TRY(loaded.engine, load());
  loaded.load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  session.end_progress();
  return loaded;
}

}  // namespace

Result<LoadedEngine> load_engine(Session& session, const ModelOptions& options, bool prefix_cache) {
  CORVID_TRY(const fs::path path, find_model(options.model));
  CORVID_TRY(auto settings, engine_options(session, options, prefix_cache));
  return timed(session, [&] { return Engine::load_blocking(session.runtime(options.threads), path, std::move(settings)); });
}

Result<LoadedEngine> load_synthetic_engine(Session& session, const ModelOptions& options, const std::string& shape, const std::string& quant) {
  CORVID_TRY(auto settings, engine_options(session, options, false));
  return timed(session, [&] { return Engine::synthetic_blocking(session.runtime(options.threads), shape, quant, std::move(settings)); });
}

}  // namespace corvid::cli
