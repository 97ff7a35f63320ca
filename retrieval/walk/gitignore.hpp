// GitIgnore: the rules of one .gitignore file, with git's own semantics (gitignore(5)).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace corvid::retrieval {

/// One glob segment against one name: * ? [a-z] [!a-z] and backslash. No '/' in either. Linear space, O(|glob|·|name|) time.
bool match_segment(std::string_view glob, std::string_view name);

class GitIgnore {
 public:
  static GitIgnore parse(std::string_view contents);
  /// `path` is relative to the file's folder, with '/' between names. True: ignored; false: taken back in by a '!' rule; nullopt: no rule.
  std::optional<bool> decide(std::string_view path, bool is_directory) const;
  bool empty() const { return rules_.empty(); }

 private:
  struct Rule {
    std::vector<std::string> segments;
    bool negated = false;
    bool directory_only = false;
  };
  std::vector<Rule> rules_;
};

}  // namespace corvid::retrieval
