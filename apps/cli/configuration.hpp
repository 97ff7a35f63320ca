// Configuration: values for options that the command line left out: environment, then project file, then user file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "corvid/base/json.hpp"

namespace corvid::cli {

struct ConfiguredValue {
  std::vector<std::string> values;
  std::string origin;   ///< "CORVID_MODEL", "./.corvid.json", …
};

/// The two files are JSON objects whose keys are long option names; an object under a command's name holds that command's own:
///   { "threads": 4, "generate": { "max-tokens": 64 } }
class Configuration {
 public:
  /// Reads ./.corvid.json and $XDG_CONFIG_HOME/corvid/config.json (else ~/.config/corvid/config.json) where they exist.
  /// Errors: bad_input (not JSON, not an object, a value that is neither string, number, boolean nor an array of them).
  static Result<Configuration> load();

  std::optional<ConfiguredValue> find(const std::string& command, const std::string& option) const;
  /// Errors: invalid_argument for a key that names no option and no command.
  Status check_keys(const std::vector<std::string>& known) const;

 private:
  struct Layer { std::string path; Json json; };
  std::vector<Layer> layers_;   // project, user
};

}  // namespace corvid::cli
