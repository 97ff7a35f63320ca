// corvid completion: a script that completes commands and options in bash, zsh and fish.
#include "apps/cli/command.hpp"
#include "apps/cli/session.hpp"

namespace corvid::cli {

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string bash(const std::vector<CommandShape>& shapes) {
  std::string names, cases;
  for (const auto& shape : shapes) {
    names += (names.empty() ? "" : " ") + shape.name;
    cases += "    " + shape.name + ") options=\"" + joined(shape.options) + " --help\" ;;\n";
  }
  return "_corvid() {\n  local word=\"${COMP_WORDS[COMP_CWORD]}\" options=\"\"\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then COMPREPLY=($(compgen -W \"" + names + " --help --version\" -- \"$word\")); return; fi\n"
         "  case \"${COMP_WORDS[1]}\" in\n" + cases + "  esac\n"
         "  case \"$word\" in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n  esac\n}\n"
         "complete -o filenames -F _corvid corvid\n";
}

std::string fish(const std::vector<CommandShape>& shapes) {
  std::string script = "complete -c corvid -n __fish_use_subcommand -f\n";
  for (const auto& shape : shapes) {
    script += "complete -c corvid -n __fish_use_subcommand -f -a " + shape.name + " -d '" + shape.summary + "'\n";
    for (const auto& option : shape.options) {
      if (option.starts_with("--")) script += "complete -c corvid -n '__fish_seen_subcommand_from " + shape.name + "' -l " + option.substr(2) + "\n";
    }
  }
  return script;
}

class Completion final : public Command {
 public:
  CommandInfo info() const override { return {"completion", "a completion script for a shell", "  corvid completion bash > ~/.local/share/bash-completion/completions/corvid\n  corvid completion fish > ~/.config/fish/completions/corvid.fish"}; }
  void options(OptionSet& set) override { set.argument("SHELL", shell_, true, "bash, zsh or fish"); }
  Status run(Session& session) override {
    const auto shapes = command_shapes();
    std::string script;
    if (shell_ == "bash") script = bash(shapes);
    else if (shell_ == "zsh") script = "autoload -U +X bashcompinit && bashcompinit\n" + bash(shapes);
    else if (shell_ == "fish") script = fish(shapes);
    else return fail(Error::invalid_argument("no completion for \"" + shell_ + "\"; bash, zsh and fish are known"));
    if (session.json) return session.write_json({{"shell", shell_}, {"script", script}});
    return session.write(script);
  }

 private:
  std::string shell_;
};

}  // namespace

std::unique_ptr<Command> make_completion() { return std::make_unique<Completion>(); }

}  // namespace corvid::cli
