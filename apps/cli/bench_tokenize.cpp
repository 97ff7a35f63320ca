#include "apps/cli/bench_tokenize.hpp"

#include <chrono>
#include <cstdio>
#include <vector>

#include "apps/cli/bench_limits.hpp"
#include "apps/cli/bench_statistics.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/runtime/compute_pool.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid::cli {

Status bench_tokenize(Session& session, const std::string& model, const std::string& file, std::int64_t runs) {
  constexpr double kRunSeconds = 0.2;
  if (file.empty()) return fail(Error::invalid_argument("bench tokenize needs --file TEXT").at_key("file"));
  CORVID_TRY(const auto path, find_model(model));
  CORVID_TRY(const std::string text, read_bytes(file));
  if (text.empty()) return fail(Error::invalid_argument("the file is empty").at_file(file));
  const auto seconds_since = [](std::chrono::steady_clock::time_point begin) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  auto begin = std::chrono::steady_clock::now();
  CORVID_TRY(const auto tokenizer, Tokenizer::open(path));
  const double load_ms = seconds_since(begin) * 1e3;
  EncodeOptions options;
  options.add_special = false;
  begin = std::chrono::steady_clock::now();
  CORVID_TRY(const auto ids, tokenizer->encode(text, options));
  const double mb = static_cast<double>(text.size()) / 1e6, cold_mb_s = mb / seconds_since(begin);
  std::vector<double> speeds;
  for (std::int64_t run = 0; run < runs; ++run) {
    begin = std::chrono::steady_clock::now();
    std::size_t times = 0;
    double seconds = 0;
    while (seconds < kRunSeconds) {
      CORVID_TRY_STATUS(session.cancellation().check());
      CORVID_TRY(const auto again, tokenizer->encode(text, options));
      if (again.size() != ids.size()) return fail(Error::internal("one text gave two lengths"));
      ++times;
      seconds = seconds_since(begin);
    }
    speeds.push_back(mb * static_cast<double>(times) / seconds);
  }
  const double mb_s = median(speeds);
  ComputePool alone(1);
  const MachineLimits limits = measure_limits(alone);
  if (session.json) {
    return session.write_json({{"model", path.filename().string()}, {"kind", std::string(tokenizer->kind())}, {"threads", 1}, {"bytes", text.size()}, {"tokens", ids.size()}, {"mb_s", mb_s},
                               {"tokens_s", mb_s / mb * static_cast<double>(ids.size())}, {"cold_mb_s", cold_mb_s}, {"load_ms", load_ms}, {"share_of_read", share_of(mb_s / 1e3, limits.read_gb_s)},
                               {"limits", limits_json(limits)}, {"runs", runs}});
  }
  char line[200];
  std::snprintf(line, sizeof line, "%.1f MB/s on one thread (%zu bytes, %zu tokens, %s), the first time %.1f MB/s; loaded in %.1f ms", mb_s, text.size(), ids.size(), std::string(tokenizer->kind()).c_str(), cold_mb_s, load_ms);
  return session.write_line(line);
}

}  // namespace corvid::cli
