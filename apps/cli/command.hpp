// Command and OptionSet: what a command says about itself. CLI11 stays inside program.cpp, so that a command compiles quickly.
//
//   class Tokenize final : public Command {
//     CommandInfo info() const override { return {"tokenize", "text to token ids", "corvid tokenize --model m.gguf < text"}; }
//     void options(OptionSet& set) override { set.text("model", model_, "model file or name"); }
//     Status run(Session& session) override;
//   };
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid::cli {

class Session;

struct CommandInfo {
  std::string name;
  std::string summary;
  std::string examples;   ///< whole lines, shown under --help
};

/// Declares options; each target is written when the command line has been read. Names are long names without dashes; a name
/// "k,max" has the short form -k too.
class OptionSet {
 public:
  virtual ~OptionSet() = default;
  virtual void text(const std::string& name, std::string& target, const std::string& help) = 0;
  virtual void texts(const std::string& name, std::vector<std::string>& target, const std::string& help) = 0;   ///< may be repeated
  virtual void integer(const std::string& name, std::int64_t& target, std::int64_t lowest, std::int64_t highest, const std::string& help) = 0;
  virtual void real(const std::string& name, double& target, double lowest, double highest, const std::string& help) = 0;
  virtual void flag(const std::string& name, bool& target, const std::string& help) = 0;
  virtual void choice(const std::string& name, std::string& target, const std::vector<std::string>& allowed, const std::string& help) = 0;
  virtual void argument(const std::string& name, std::string& target, bool required, const std::string& help) = 0;
  virtual void arguments(const std::string& name, std::vector<std::string>& target, bool required, const std::string& help) = 0;
};

class Command {
 public:
  virtual ~Command() = default;
  virtual CommandInfo info() const = 0;
  virtual void options(OptionSet& set) = 0;
  virtual Status run(Session& session) = 0;
};

/// One registration a command, in commands.cpp.
std::vector<std::unique_ptr<Command>> make_commands();

/// The program: reads the line, merges the layers of configuration, runs the command, gives the exit code.
int run_program(int argc, char** argv);

/// What completion scripts need to know of each command.
struct CommandShape {
  std::string name, summary;
  std::vector<std::string> options;   ///< "--model", …
};
std::vector<CommandShape> command_shapes();

}  // namespace corvid::cli
