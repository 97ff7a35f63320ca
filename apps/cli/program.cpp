// The only file that knows CLI11.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <map>
#include <string_view>
#include <system_error>

#include "apps/cli/command.hpp"
#include "apps/cli/configuration.hpp"
#include "apps/cli/session.hpp"

#ifndef CORVID_VERSION
#define CORVID_VERSION "0.1.0"
#endif

namespace corvid::cli {

namespace {

class CliOptionSet final : public OptionSet {
 public:
  explicit CliOptionSet(CLI::App& app) : app_(app) {}

  void text(const std::string& name, std::string& target, const std::string& help) override { add(name, target, help); }
  void texts(const std::string& name, std::vector<std::string>& target, const std::string& help) override {
    // One value an occurrence, taken as it stands: CLI11 would otherwise read "[a,b]" as a list.
    add(name, target, help)->allow_extra_args(false)->take_all();
  }
  void integer(const std::string& name, std::int64_t& target, std::int64_t lowest, std::int64_t highest, const std::string& help) override {
    add(name, target, help)->check(CLI::Range(lowest, highest));
  }
  void real(const std::string& name, double& target, double lowest, double highest, const std::string& help) override {
    add(name, target, help)->check(CLI::Range(lowest, highest));
  }
  void flag(const std::string& name, bool& target, const std::string& help) override { app_.add_flag(dashed(name), target, help); }
  void choice(const std::string& name, std::string& target, const std::vector<std::string>& allowed, const std::string& help) override {
    add(name, target, help)->check(CLI::IsMember(allowed));
  }
  void argument(const std::string& name, std::string& target, bool required, const std::string& help) override {
    app_.add_option(name, target, help)->required(required);
  }
  void arguments(const std::string& name, std::vector<std::string>& target, bool required, const std::string& help) override {
    app_.add_option(name, target, help)->required(required)->take_all();
  }

 private:
  template <class T>
  CLI::Option* add(const std::string& name, T& target, const std::string& help) {
    return app_.add_option(dashed(name), target, help)->capture_default_str();
  }
  static std::string dashed(const std::string& name) {
    const auto comma = name.find(',');
    if (comma == std::string::npos) return name.size() == 1 ? "-" + name : "--" + name;
    return "-" + name.substr(0, comma) + ",--" + name.substr(comma + 1);
  }

  CLI::App& app_;
};

/// Options that settings may fill: all but positional arguments and --help.
std::vector<CLI::Option*> named_options(CLI::App& app) {
  auto options = app.get_options([](const CLI::Option* option) { return option->nonpositional() && option->get_name() != "--help" && option->get_name() != "-h,--help"; });
  return options;
}

std::string long_name(const CLI::Option& option) {
  const auto& names = option.get_lnames();
  return names.empty() ? std::string() : names.front();
}

struct Line {
  CLI::App app{"Corvid: agents and retrieval-augmented generation, natively", "corvid"};
  std::vector<std::unique_ptr<Command>> commands = make_commands();
  std::map<const CLI::App*, Command*> command_of;
  bool json = false, verbose = false;

  Line() {
    app.require_subcommand(1);
    app.set_version_flag("--version", "corvid " CORVID_VERSION);
    app.footer("Exit codes: 0 done, 1 failed, 2 usage, 3 bad or damaged input, 4 not found, 5 unsupported, 130 interrupted.\n"
               "Options also come from CORVID_<OPTION>, ./.corvid.json and ~/.config/corvid/config.json, in this order.\n"
               "Example:\n  corvid ingest ./docs && corvid ask \"How do I install it?\"");
    for (auto& command : commands) {
      const auto info = command->info();
      CLI::App* sub = app.add_subcommand(info.name, info.summary);
      sub->footer("Examples:\n" + info.examples);
      CliOptionSet set(*sub);
      command->options(set);
      set.flag("json", json, "data as JSON on standard output");
      set.flag("verbose", verbose, "what the library does, on standard error");
      command_of[sub] = command.get();
    }
  }

  std::vector<std::string> setting_names() {
    std::vector<std::string> names;
    for (auto& [sub, command] : command_of) {
      names.push_back(command->info().name);
      for (const auto* option : named_options(*const_cast<CLI::App*>(sub))) names.push_back(long_name(*option));
    }
    return names;
  }
};

Status apply_settings(Line& line, CLI::App& sub) {
  CORVID_TRY(const auto configuration, Configuration::load());
  CORVID_TRY_STATUS(configuration.check_keys(line.setting_names()));
  for (CLI::Option* option : named_options(sub)) {
    const std::string name = long_name(*option);
    if (option->count() > 0 || name.empty()) continue;
    const auto setting = configuration.find(sub.get_name(), name);
    if (!setting) continue;
    try {
      for (const auto& value : setting->values) option->add_result(value);
      option->run_callback();
    } catch (const CLI::Error& error) {
      return fail(Error::invalid_argument(setting->origin + ": " + error.what()).at_key(name));
    }
  }
  return {};
}

bool asks_for_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--") return false;
    if (argument == "--json") return true;
  }
  return false;
}

int finish(const Session& session, const Status& status, bool json) {
  if (status) return session.interrupted() ? 130 : 0;
  if (session.interrupted() || status.error().code() == ErrorCode::cancelled) {
    std::fputs("corvid: interrupted\n", stderr);
    return 130;
  }
  print_error(status.error(), json);
  return exit_code(status.error().code());
}

}  // namespace

std::vector<CommandShape> command_shapes() {
  Line line;
  std::vector<CommandShape> shapes;
  for (const auto& command : line.commands) {
    const auto info = command->info();
    CommandShape shape{info.name, info.summary, {}};
    for (const auto* option : named_options(*line.app.get_subcommand(info.name))) shape.options.push_back(long_name(*option).empty() ? "-" + option->get_snames().front() : "--" + long_name(*option));
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

int run_program(int argc, char** argv) {
  Line line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    return line.app.exit(request);
  } catch (const CLI::ParseError& error) {
    print_error(Error::invalid_argument(std::string(error.what()) + "; see corvid --help"), asks_for_json(argc, argv));
    return 2;
  }
  CLI::App* sub = line.app.get_subcommands().front();
  Session session;
  Status status = apply_settings(line, *sub);
  session.json = line.json;
  session.verbose = line.verbose;
  if (status) {
    try {
      status = line.command_of.at(sub)->run(session);
    } catch (const std::bad_alloc&) {
      status = fail(Error::out_of_memory("the machine has no memory left for this"));
    } catch (const std::system_error& thrown) {
      if (thrown.code() == std::errc::resource_unavailable_try_again) status = fail(Error::limit_exceeded("the system starts no more threads: close other programs, or raise the limits of processes (ulimit -u) and memory"));
      else status = fail(Error::internal(std::string("a defect in Corvid, please report it: ") + thrown.what()));
    } catch (const std::exception& defect) {
      status = fail(Error::internal(std::string("a defect in Corvid, please report it: ") + defect.what()));
    }
  }
  session.end_progress();
  return finish(session, status, session.json);
}

}  // namespace corvid::cli
