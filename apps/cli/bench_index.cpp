#include "apps/cli/bench_index.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "apps/cli/bench_limits.hpp"
#include "apps/cli/bench_statistics.hpp"
#include "apps/cli/session.hpp"
#include "corvid/retrieval/vector_index.hpp"
#include "corvid/runtime/runtime.hpp"

namespace corvid::cli {

namespace {

constexpr std::size_t kRecallQueries = 64;
constexpr double kRunSeconds = 0.2;  // a run repeats its batch for at least so long

std::vector<float> unit_vectors(std::size_t n, std::size_t d, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n * d);
  for (std::size_t r = 0; r < n; ++r) {
    double squares = 0;
    for (std::size_t i = 0; i < d; ++i) {
      const float x = out[r * d + i] = normal(random);
      squares += static_cast<double>(x) * x;
    }
    const float scale = static_cast<float>(1 / std::sqrt(squares));
    for (std::size_t i = 0; i < d; ++i) out[r * d + i] *= scale;
  }
  return out;
}

Result<std::unique_ptr<VectorIndex>> filled(Session& session, const IndexBench& bench, const std::vector<float>& vectors, DType storage, const ComputeOptions& compute) {
  CORVID_TRY(auto index, make_exact_index(session.runtime(compute.threads).memory(), static_cast<std::uint32_t>(bench.dims), storage));
  std::vector<std::int64_t> ids(static_cast<std::size_t>(bench.vectors));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
  CORVID_TRY_STATUS(index->add(ids, ConstTensorView(vectors.data(), DType::f32, {bench.vectors, bench.dims})));
  return index;
}

}  // namespace

Status bench_index(Session& session, const IndexBench& bench, std::int64_t runs, const ComputeOptions& compute) {
  const auto dims = static_cast<std::size_t>(bench.dims), batch = static_cast<std::size_t>(bench.batch), k = static_cast<std::size_t>(bench.k);
  const DType storage = bench.storage == "f16" ? DType::f16 : DType::f32;
  CORVID_TRY(const auto device, parse_device(compute.device));
  if (!device.is_cpu()) return fail(Error::unsupported("bench index on " + compute.device + "; exact search runs on the CPU").at_key("device"));
  OpContext ctx;
  ctx.pool = &session.runtime(compute.threads).pool();
  const auto vectors = unit_vectors(static_cast<std::size_t>(bench.vectors), dims, 1);
  const auto queries = unit_vectors(std::max(batch, kRecallQueries), dims, 2);
  CORVID_TRY(const auto index, filled(session, bench, vectors, storage, compute));
  const auto view = [&](std::size_t from, std::size_t n) { return ConstTensorView(queries.data() + from * dims, DType::f32, {static_cast<std::int64_t>(n), bench.dims}); };
  std::vector<double> speeds;
  for (std::int64_t run = 0; run <= runs; ++run) {
    CORVID_TRY_STATUS(session.cancellation().check());
    const auto begin = std::chrono::steady_clock::now();
    std::size_t done = 0;
    double seconds = 0;
    while (seconds < kRunSeconds) {
      CORVID_TRY(const auto hits, index->search(ctx, view(0, batch), k));
      done += hits.size();
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    if (run > 0) speeds.push_back(static_cast<double>(done) / seconds);
  }
  // Recall: a query alone against f32 storage is the definition.
  double recall = 1;
  if (storage != DType::f32) {
    CORVID_TRY(const auto exact, filled(session, bench, vectors, DType::f32, compute));
    CORVID_TRY(const auto found, index->search(ctx, view(0, kRecallQueries), k));
    CORVID_TRY(const auto wanted, exact->search(ctx, view(0, kRecallQueries), k));
    std::size_t same = 0, all = 0;
    for (std::size_t q = 0; q < kRecallQueries; ++q) {
      for (const auto& hit : wanted[q]) same += std::any_of(found[q].begin(), found[q].end(), [&](const ScoredId& f) { return f.id == hit.id; });
      all += wanted[q].size();
    }
    recall = all ? static_cast<double>(same) / static_cast<double>(all) : 1;
  }
  const double queries_s = median(speeds);
  const double bytes = static_cast<double>(bench.vectors) * static_cast<double>(bench.dims) * (storage == DType::f16 ? 2 : 4);
  const double gb_s = queries_s / static_cast<double>(batch) * bytes / 1e9;
  const double gop_s = queries_s * 2 * static_cast<double>(bench.vectors) * static_cast<double>(bench.dims) / 1e9;
  const MachineLimits limits = measure_limits(*ctx.pool);
  if (session.json) {
    return session.write_json({{"vectors", bench.vectors}, {"dims", bench.dims}, {"batch", bench.batch}, {"k", bench.k}, {"storage", bench.storage}, {"threads", ctx.pool->threads()},
                               {"queries_s", queries_s}, {"recall", recall}, {"scan_bytes", bytes}, {"scan_gb_s", gb_s}, {"gop_s", gop_s}, {"share_of_read", share_of(gb_s, limits.read_gb_s)},
                               {"share_of_f32", share_of(gop_s, limits.f32_gflop_s)}, {"share_of_int8", share_of(gop_s, limits.int8_gop_s)}, {"limits", limits_json(limits)}, {"runs", runs}});
  }
  char line[240];
  std::snprintf(line, sizeof line, "%.1f queries/s in batches of %lld over %lld vectors of %lld (%s), recall %.4f; %.1f GB/s of %.1f, %.0f GOP/s", queries_s, static_cast<long long>(bench.batch),
                static_cast<long long>(bench.vectors), static_cast<long long>(bench.dims), bench.storage.c_str(), recall, gb_s, limits.read_gb_s, gop_s);
  return session.write_line(line);
}

}  // namespace corvid::cli
