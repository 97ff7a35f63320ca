// A settings file of any bytes, as a folder's and as the user's: settings that can be asked, or a typed error.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "apps/cli/configuration.hpp"
#include "fuzz/fuzz_file.hpp"

namespace {

void write(const std::filesystem::path& path, const std::uint8_t* data, std::size_t size) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
}

void load() {
  const auto settings = corvid::cli::Configuration::load();
  if (!settings) {
    if (settings.error().code() == corvid::ErrorCode::internal) std::abort();
    return;
  }
  for (const char* option : {"model", "threads", "top-k", "endpoint"}) {
    const auto value = settings->find("ask", option);
    if (value && value->origin.empty()) std::abort();
  }
  (void)settings->check_keys({"model", "threads", "top-k", "ask", "ingest", "endpoint"});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path home = [] {
    const auto made = fuzz_file(nullptr, 0, ".settings").string() + ".d";
    std::filesystem::create_directories(made + "/corvid");
    std::filesystem::current_path(made);
    ::setenv("XDG_CONFIG_HOME", made.c_str(), 1);
    return std::filesystem::path(made);
  }();
  const auto project = home / ".corvid.json", user = home / "corvid" / "config.json";
  write(project, data, size);
  load();
  std::filesystem::remove(project);
  write(user, data, size);
  load();
  std::filesystem::remove(user);
  return 0;
}
