#include <chrono>

#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/llm/engine.hpp"

namespace corvid::cli {

namespace fs = std::filesystem;

Result<LoadedEngine> load_engine(Session& session, const ModelOptions& options, bool prefix_cache) {
  CORVID_TRY(const fs::path path, find_model(options.model));
  EngineOptions engine_options;
  CORVID_TRY(engine_options.device, parse_device(options.device));
  engine_options.precision = options.precision == "f32" ? Precision::f32 : Precision::fast;
  engine_options.context_tokens = static_cast<std::uint32_t>(options.context_tokens);
  engine_options.prefix_cache = prefix_cache;
  engine_options.progress = session.progress();
  const auto begin = std::chrono::steady_clock::now();
  LoadedEngine loaded;
  CORVID_TRY(loaded.engine, Engine::load_blocking(session.runtime(options.threads), path, std::move(engine_options)));
  loaded.load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  session.end_progress();
  return loaded;
}

}  // namespace corvid::cli
