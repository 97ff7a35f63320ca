// The model that answers: an engine of this machine, or an endpoint.
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/llm/remote_chat_model.hpp"

namespace corvid::cli {

void ChatModelOptions::declare(OptionSet& set) {
  ModelOptions::declare(set);
  set.text("endpoint", endpoint, "ask an OpenAI-compatible endpoint, https://host[:port]/v1, instead of a model of this machine");
  set.text("remote-model", remote_model, "with --endpoint: its name of the model");
  set.text("api-key-env", api_key_env, "with --endpoint: the environment variable that holds the key");
  set.text("api-key-file", api_key_file, "with --endpoint: the file that holds the key");
  set.text("ca-file", ca_file, "with --endpoint: PEM certificates to trust instead of the system's");
}

Result<LoadedChatModel> load_chat_model(Session& session, const ChatModelOptions& options) {
  LoadedChatModel loaded;
  if (options.endpoint.empty()) {
    if (!options.remote_model.empty()) return fail(Error::invalid_argument("--remote-model needs --endpoint").at_key("endpoint"));
    CORVID_TRY(auto engine, load_engine(session, options));
    loaded.model = std::move(engine.engine);
    loaded.load_ms = engine.load_ms;
    return loaded;
  }
  if (options.remote_model.empty()) return fail(Error::invalid_argument("--endpoint needs --remote-model, its name of the model").at_key("remote-model"));
  RemoteChatOptions remote;
  remote.base_url = options.endpoint;
  remote.model = options.remote_model;
  remote.api_key_env = options.api_key_env;
  remote.api_key_file = options.api_key_file;
  remote.ca_file = options.ca_file;
  remote.extended_sampling = true;  // sent only when asked for; an endpoint that does not take them says so
  remote.context_tokens = static_cast<std::uint64_t>(options.context_tokens);
  CORVID_TRY(loaded.model, RemoteChatModel::make(session.runtime(options.threads), std::move(remote)));
  return loaded;
}

}  // namespace corvid::cli
