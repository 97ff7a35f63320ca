#include "apps/cli/models.hpp"

#include <cstdlib>
#include <system_error>

namespace corvid::cli {

namespace fs = std::filesystem;

fs::path models_folder() {
  if (const char* folder = std::getenv("CORVID_MODELS"); folder && *folder) return folder;
  if (const char* data = std::getenv("XDG_DATA_HOME"); data && *data) return fs::path(data) / "corvid" / "models";
  if (const char* home = std::getenv("HOME"); home && *home) return fs::path(home) / ".local" / "share" / "corvid" / "models";
  return "models";
}

Result<fs::path> find_model(const std::string& path_or_name) {
  std::error_code failure;
  if (fs::exists(path_or_name, failure)) return fs::path(path_or_name);
  const fs::path named = models_folder() / path_or_name;
  if (!path_or_name.empty() && fs::exists(named, failure)) return named;
  return fail(Error::not_found("no model \"" + path_or_name + "\": neither a path nor a name in " + models_folder().string() +
                               "; scripts/fetch_models.sh fetches the default models, CORVID_MODELS names another folder").at_file(path_or_name));
}

void ComputeOptions::declare(OptionSet& set) {
  set.text("device", device, "cpu, cuda or cuda:N");
  set.choice("precision", precision, {"fast", "f32"}, "fast rounds inside matrix products, f32 nowhere");
  set.integer("threads", threads, 0, 4096, "compute threads; 0 = the cores of this process");
}

void ModelOptions::declare(OptionSet& set, bool with_context) {
  set.text("model", model, "GGUF file, hub folder, or a name in the model folder");
  if (with_context) set.integer("context", context_tokens, 0, 1 << 24, "longest sequence in tokens; 0 = the model's own");
  ComputeOptions::declare(set);
}

}  // namespace corvid::cli
