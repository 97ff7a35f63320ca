// corvid doctor: what is here, what is in use, what to do about what is missing.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <thread>
#include <vector>

#include "apps/cli/command.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/compute/simd.hpp"
#include "corvid/compute/stream.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/runtime/runtime.hpp"

namespace corvid::cli {

namespace {

namespace fs = std::filesystem;

struct Finding {
  std::string name;
  bool good = false;
  std::string state;
  std::string advice;   ///< what to do, when not good
};

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate.string();
  }
  return {};
}

Finding look_for_model(const char* name) {
  const fs::path path = models_folder() / name;
  std::error_code failure;
  if (fs::exists(path, failure)) return {name, true, path.string(), {}};
  return {name, false, "not in " + models_folder().string(), "run scripts/fetch_models.sh, or set CORVID_MODELS to the folder that has it"};
}

std::string gigabytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

// What would fit, weights and a context of 8,192 tokens together, in bytes.
struct Example { const char* name; std::uint64_t bytes; };
constexpr Example kExamples[] = {{"0.5B in Q4_K_M", 700'000'000}, {"8B in Q4_K_M", 6'200'000'000}, {"8B in bf16", 17'400'000'000}, {"70B in Q4_K_M", 46'000'000'000}};

void examine_devices(std::vector<Finding>& findings) {
  std::error_code failure;
  const bool gpu = fs::exists("/dev/nvidia0", failure) || fs::exists("/dev/nvhost-gpu", failure);
  if (!cuda_compiled_in()) {
    findings.push_back({"cuda", !gpu, gpu ? "a device is present, but CUDA was not compiled in" : "not compiled in, no device", "install the CUDA toolkit and build again with the preset cuda"});
    return;
  }
  const auto devices = list_devices();
  if (!devices) {
    findings.push_back({"cuda", !gpu, "compiled in; " + devices.error().message(), "check the driver (nvidia-smi)"});
    return;
  }
  for (const DeviceInfo& d : *devices) {
    std::string state = d.name + ", compute capability " + std::to_string(d.compute_major) + "." + std::to_string(d.compute_minor) + ", driver " + (d.driver.empty() ? "" : d.driver + " ") + "for CUDA " + d.driver_cuda + ", " +
                        gigabytes(d.free_bytes) + " free of " + gigabytes(d.total_bytes) + (d.shares_host_memory ? " shared with the host" : "") + "; would fit:";
    bool any = false;
    for (const Example& example : kExamples) {
      if (example.bytes > d.free_bytes) continue;
      state += std::string(any ? ", " : " ") + example.name;
      any = true;
    }
    if (!any) state += " none of the usual sizes";
    const auto opened = Stream::open(d.device);  // CUDA's libraries, and code for this device in this build
    findings.push_back({to_string(d.device), opened.has_value(), state, opened ? std::string() : opened.error().message()});
  }
}

std::vector<Finding> examine(Session& session) {
  std::vector<Finding> findings;
  std::string simd = std::string(to_string(simd_level())) + " in use; this machine has";
  for (const SimdLevel level : available_simd_levels()) simd += " " + std::string(to_string(level));
  const bool slow = simd_level() == SimdLevel::scalar;
  findings.push_back({"simd", !slow && !simd_request_ignored(), simd,
                      simd_request_ignored() ? "CORVID_SIMD names no level that this machine has" : "the scalar code runs, slowly: this processor has none of avx2, avx512, neon, or CORVID_SIMD asks for it"});
  findings.push_back({"threads", true, std::to_string(std::thread::hardware_concurrency()), {}});
  findings.push_back({"memory_budget_bytes", true, std::to_string(session.runtime().memory().limit_bytes()), {}});
  examine_devices(findings);
  findings.push_back(look_for_model(kDefaultModel));
  findings.push_back(look_for_model(kDefaultEmbedder));
  // What is no address at all is refused before anything is connected.
  const auto postgres = open_postgres_store("not an address");
  const bool libpq = postgres || postgres.error().code() != ErrorCode::unsupported;
  findings.push_back({"postgresql", libpq, libpq ? "client support is compiled in (corvid graph --postgres)" : "client support is not compiled in", "install libpq-dev and build again to keep graphs' threads in PostgreSQL"});
  const std::string pdftotext = find_program("pdftotext");
  findings.push_back({"pdftotext", !pdftotext.empty(), pdftotext.empty() ? "not found" : pdftotext, "install poppler-utils to ingest PDF files"});
  return findings;
}

class Doctor final : public Command {
 public:
  CommandInfo info() const override { return {"doctor", "what is installed and in use, and what to do about what is missing", "  corvid doctor\n  corvid doctor --json"}; }
  void options(OptionSet&) override {}
  Status run(Session& session) override {
    const auto findings = examine(session);
    if (session.json) {
      Json out = Json::array();
      for (const auto& f : findings) out.push_back({{"name", f.name}, {"ok", f.good}, {"state", f.state}, {"advice", f.good ? Json(nullptr) : Json(f.advice)}});
      return session.write_json({{"checks", out}});
    }
    for (const auto& f : findings) {
      CORVID_TRY_STATUS(session.write_line(std::string(f.good ? "ok       " : "missing  ") + session.bold(f.name) + ": " + f.state));
      if (!f.good) CORVID_TRY_STATUS(session.write_line("         " + f.advice));
    }
    return {};
  }
};

}  // namespace

std::unique_ptr<Command> make_doctor() { return std::make_unique<Doctor>(); }

}  // namespace corvid::cli
