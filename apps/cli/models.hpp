// Where models are and how commands that run one are told which, on what, with how many threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "apps/cli/command.hpp"
#include "corvid/base/result.hpp"

namespace corvid {
class ChatModel;
class Engine;
class TextEmbedder;
}

namespace corvid::cli {

class Session;

inline constexpr const char* kDefaultModel = "SmolLM2-135M-Instruct-Q4_1.gguf";
inline constexpr const char* kDefaultEmbedder = "all-MiniLM-L6-v2";

/// $CORVID_MODELS, else $XDG_DATA_HOME/corvid/models, else ~/.local/share/corvid/models.
std::filesystem::path models_folder();
/// A path that exists, else a name in the model folder. Errors: not_found, naming both places.
Result<std::filesystem::path> find_model(const std::string& path_or_name);

/// --device, --precision, --threads.
struct ComputeOptions {
  std::string device = "cpu";
  std::string precision = "fast";
  std::int64_t threads = 0;
  void declare(OptionSet& set);
};

/// --model, --context and ComputeOptions.
struct ModelOptions : ComputeOptions {
  std::string model = kDefaultModel;
  std::int64_t context_tokens = 0;
  void declare(OptionSet& set, bool with_context = true);
};

/// ModelOptions, or an endpoint instead: --endpoint, --remote-model, --api-key-env, --api-key-file, --ca-file.
struct ChatModelOptions : ModelOptions {
  std::string endpoint, remote_model, api_key_env, api_key_file, ca_file;
  void declare(OptionSet& set);
};

struct LoadedEngine {
  std::shared_ptr<Engine> engine;
  double load_ms = 0;
};
Result<LoadedEngine> load_engine(Session& session, const ModelOptions& options, bool prefix_cache = true);
/// Engine::synthetic_blocking instead of a file.
Result<LoadedEngine> load_synthetic_engine(Session& session, const ModelOptions& options, const std::string& shape, const std::string& quant);

struct LoadedChatModel {
  std::shared_ptr<ChatModel> model;
  double load_ms = 0;
};
Result<LoadedChatModel> load_chat_model(Session& session, const ChatModelOptions& options);
/// `unit_vectors` false: of length 1 only where the model says so.
Result<std::shared_ptr<TextEmbedder>> load_embedder(Session& session, const std::filesystem::path& folder, const ComputeOptions& options, bool unit_vectors = true);

}  // namespace corvid::cli
