#include "pooling_config.hpp"

#include <string>
#include <vector>

namespace corvid::embed {
namespace {

Result<ops::Pooling> read_pooling(const ModelFile& file, const std::string& folder) {
  // The folder's name comes from a file: it stays inside the model.
  if (folder.empty() || folder.find("..") != std::string::npos || folder.front() == '/' || folder.find('\0') != std::string::npos) {
    return fail(Error::bad_input("the pooling module's path must lie in the model's folder").at_file((file.folder() / "modules.json").string()).at_key("path"));
  }
  const auto path = file.folder() / folder / "config.json";
  CORVID_TRY(const Json config, read_json_file(path));
  if (!config.is_object()) return fail(Error::bad_input("an object is expected").at_file(path.string()));
  // Today's form names the mode or a list of modes; the earlier one has a flag for each.
  std::vector<std::string> chosen;
  if (const auto at = config.find("pooling_mode"); at != config.end()) {
    if (at->is_string()) chosen.push_back(at->get<std::string>());
    else if (at->is_array()) for (const Json& mode : *at) chosen.push_back(mode.is_string() ? mode.get<std::string>() : mode.dump());
  } else {
    for (const auto& [key, value] : config.items()) {
      if (key.rfind("pooling_mode", 0) == 0 && value.is_boolean() && value.get<bool>()) chosen.push_back(key);
    }
  }
  if (chosen.size() != 1) {
    return fail(Error::unsupported(std::to_string(chosen.size()) + " ways of pooling at once; exactly one of cls, mean, max, last is supported").at_file(path.string()));
  }
  struct Mode { const char *name, *flag; ops::Pooling pooling; };
  static constexpr Mode kModes[] = {{"cls", "pooling_mode_cls_token", ops::Pooling::cls}, {"mean", "pooling_mode_mean_tokens", ops::Pooling::mean},
                                    {"max", "pooling_mode_max_tokens", ops::Pooling::max}, {"lasttoken", "pooling_mode_lasttoken", ops::Pooling::last}};
  for (const Mode& mode : kModes) if (chosen[0] == mode.name || chosen[0] == mode.flag) return mode.pooling;
  return fail(Error::unsupported("pooling by \"" + chosen[0] + "\"; cls, mean, max and last are supported").at_file(path.string()).at_key(chosen[0]));
}

}  // namespace

Result<SentenceConfig> read_sentence_config(const ModelFile& file) {
  SentenceConfig out;
  CORVID_TRY(const auto sentence, file.sibling_json("sentence_bert_config.json"));
  if (sentence && sentence->is_object()) {
    if (const auto at = sentence->find("max_seq_length"); at != sentence->end() && !at->is_null()) {
      const auto where = (file.folder() / "sentence_bert_config.json").string();
      if (!at->is_number_integer() || at->get<std::int64_t>() < 3 || at->get<std::int64_t>() > (1 << 20)) {
        return fail(Error::bad_input("an integer from 3 to 1048576 is expected").at_file(where).at_key("max_seq_length"));
      }
      out.max_tokens = static_cast<std::uint32_t>(at->get<std::int64_t>());
    }
    if (const auto at = sentence->find("do_lower_case"); at != sentence->end() && at->is_boolean()) out.lower_case = at->get<bool>();
  }
  if (out.max_tokens == 0) {
    // Today's folders keep the limit with the tokenizer; a huge number stands for none.
    CORVID_TRY(const auto tokenizer, file.sibling_json("tokenizer_config.json"));
    if (tokenizer && tokenizer->is_object()) {
      const auto at = tokenizer->find("model_max_length");
      if (at != tokenizer->end() && at->is_number_integer() && *at >= 3 && *at <= (1 << 20)) out.max_tokens = at->get<std::uint32_t>();
    }
  }
  CORVID_TRY(const auto modules, file.sibling_json("modules.json"));
  if (!modules) return out;
  const auto where = (file.folder() / "modules.json").string();
  if (!modules->is_array()) return fail(Error::bad_input("a list of modules is expected").at_file(where));
  for (const Json& module : *modules) {
    if (!module.is_object() || !module.contains("type") || !module["type"].is_string()) {
      return fail(Error::bad_input("a module without a type").at_file(where).at_key("type"));
    }
    const auto type = module["type"].get<std::string>();
    const auto name = type.substr(type.rfind('.') + 1);
    if (name == "Transformer") continue;
    if (name == "Normalize") {
      out.normalise = true;
    } else if (name == "Pooling") {
      const auto at = module.find("path");
      CORVID_TRY(out.pooling, read_pooling(file, at != module.end() && at->is_string() ? at->get<std::string>() : std::string()));
    } else {
      return fail(Error::unsupported("a sentence-transformers module of type \"" + type + "\"").at_file(where).at_key("type"));
    }
  }
  return out;
}

}  // namespace corvid::embed
