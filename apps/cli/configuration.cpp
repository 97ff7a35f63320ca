#include "apps/cli/configuration.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <system_error>

namespace corvid::cli {

namespace {

namespace fs = std::filesystem;

fs::path user_file() {
  if (const char* home = std::getenv("XDG_CONFIG_HOME"); home && *home) return fs::path(home) / "corvid" / "config.json";
  if (const char* home = std::getenv("HOME"); home && *home) return fs::path(home) / ".config" / "corvid" / "config.json";
  return {};
}

// A folder that was fetched from elsewhere must not choose where prompts, documents and keys are sent.
Status check_project(const std::string& path, const Json& object) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) CORVID_TRY_STATUS(check_project(path, value));
    const bool sends = key == "endpoint" || key == "remote-model" || key == "api-key-env" || key == "api-key-file" || key == "ca-file";
    if (sends) return fail(Error::invalid_argument("\"" + key + "\" is not taken from a folder's settings; set it in " + user_file().string() + ", the environment or the command line").at_file(path).at_key(key));
  }
  return {};
}

bool is_plain(const Json& value) { return value.is_string() || value.is_number() || value.is_boolean(); }
std::string as_text(const Json& value) { return value.is_string() ? value.get<std::string>() : dump_json(value); }

Status check_values(const std::string& path, const Json& object, bool top) {
  for (const auto& [key, value] : object.items()) {
    if (top && value.is_object()) {
      CORVID_TRY_STATUS(check_values(path, value, false));
      continue;
    }
    const bool fits = is_plain(value) || (value.is_array() && std::all_of(value.begin(), value.end(), is_plain));
    if (!fits) return fail(Error::bad_input("a setting must be a string, a number, a boolean or an array of them").at_file(path).at_key(key));
  }
  return {};
}

}  // namespace

Result<Configuration> Configuration::load() {
  Configuration configuration;
  for (const fs::path& path : {fs::path(".corvid.json"), user_file()}) {
    std::error_code failure;
    if (path.empty() || !fs::exists(path, failure)) continue;
    JsonLimits limits;
    limits.max_bytes = std::size_t{1} << 20;
    CORVID_TRY(auto json, read_json_file(path, limits));
    if (!json.is_object()) return fail(Error::bad_input("settings must be a JSON object").at_file(path.string()).at_offset(0));
    CORVID_TRY_STATUS(check_values(path.string(), json, true));
    if (path == ".corvid.json") CORVID_TRY_STATUS(check_project(path.string(), json));
    configuration.layers_.push_back({path.string(), std::move(json)});
  }
  return configuration;
}

std::optional<ConfiguredValue> Configuration::find(const std::string& command, const std::string& option) const {
  std::string variable = "CORVID_";
  for (const char c : option) variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (const char* value = std::getenv(variable.c_str())) return ConfiguredValue{{value}, variable};
  for (const auto& layer : layers_) {
    const Json* found = nullptr;
    if (const auto own = layer.json.find(command); own != layer.json.end() && own->is_object()) {
      if (const auto at = own->find(option); at != own->end()) found = &*at;
    }
    if (!found) {
      if (const auto at = layer.json.find(option); at != layer.json.end() && !at->is_object()) found = &*at;
    }
    if (!found) continue;
    ConfiguredValue value{{}, layer.path};
    if (found->is_array()) {
      for (const Json& item : *found) value.values.push_back(as_text(item));
    } else {
      value.values.push_back(as_text(*found));
    }
    return value;
  }
  return std::nullopt;
}

Status Configuration::check_keys(const std::vector<std::string>& known) const {
  for (const auto& layer : layers_) {
    for (const auto& [key, value] : layer.json.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        return fail(Error::invalid_argument("no option or command is named \"" + key + "\"; see corvid --help").at_file(layer.path).at_key(key));
      }
    }
  }
  return {};
}

}  // namespace corvid::cli
