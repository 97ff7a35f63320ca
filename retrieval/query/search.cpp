// Search: embed, dense and lexical candidates under one filter, fusion, diversity, hits.
#include <algorithm>
#include <tuple>

#include "corvid/compute/op_context.hpp"
#include "corvid/retrieval/fusion.hpp"
#include "retrieval/store/sqlite_collection.hpp"

namespace corvid::retrieval {

Result<std::shared_ptr<const Snapshot>> SqliteCollection::snapshot(Database& db) {
  CORVID_TRY(Statement row, db.prepare("SELECT generation FROM collections WHERE id = ?1"));
  row.bind(1, id_);
  CORVID_TRY(const bool any, row.step());
  if (!any) return fail(Error::not_found("no collection \"" + info_.name + "\" in " + workspace_->path().string()));
  const auto generation = row.integer(0);
  std::lock_guard lock(snapshot_mutex_);
  if (!snapshot_ || snapshot_->generation() != generation) {
    snapshot_.reset();  // its memory first: the budget need not hold both
    CORVID_TRY(snapshot_, Snapshot::load(db, id_, generation, info_.dimension, options_.storage, runtime_.memory()));
  }
  return snapshot_;
}

Result<std::vector<Hit>> SqliteCollection::search(std::string_view query, const SearchOptions& options, const CancellationToken& cancellation) {
  if (options.k == 0) return std::vector<Hit>();
  if (!(options.convex_weight >= 0 && options.convex_weight <= 1)) return fail(Error::invalid_argument("the dense weight must be from 0 to 1").at_key("convex_weight"));
  if (!(options.mmr_lambda >= 0 && options.mmr_lambda <= 1)) return fail(Error::invalid_argument("lambda must be from 0 to 1").at_key("mmr_lambda"));
  CORVID_TRY(const Filter filter, Filter::parse(options.filter));
  const std::size_t depth = std::max(options.depth, options.k);
  std::vector<float> vector;
  if (options.mode != SearchMode::lexical) {
    CORVID_TRY(vector, embed({query}));
  }
  CORVID_TRY_STATUS(cancellation.check());

  std::vector<Hit> hits;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(const auto rows, snapshot(db));
    RowBitmap bitmap;
    const RowBitmap* allowed = nullptr;
    if (!filter.allows_all()) {
      bitmap = filter.evaluate(*rows);
      allowed = &bitmap;
    }
    std::vector<ScoredId> dense, lexical;
    if (options.mode != SearchMode::lexical && rows->rows() > 0) {
      OpContext ctx;
      ctx.pool = &runtime_.pool();
      const ConstTensorView queries(vector.data(), DType::f32, {1, static_cast<std::int64_t>(vector.size())});
      CORVID_TRY(auto lists, rows->vectors().search(ctx, queries, depth, allowed));
      dense = std::move(lists[0]);
    }
    if (options.mode != SearchMode::dense) {
      AllowedIds ids;
      ids.ids = rows->vectors().ids();
      ids.rows = allowed;
      CORVID_TRY(lexical, lexical_->search(db, id_, query, depth, ids));
    }
    std::vector<FusedId> fused;
    if (options.mode == SearchMode::dense) fused = fuse_single(dense, true);
    else if (options.mode == SearchMode::lexical) fused = fuse_single(lexical, false);
    else if (options.fusion == Fusion::rrf) fused = fuse_rrf(dense, lexical, options.rrf_k);
    else fused = fuse_convex(dense, lexical, options.convex_weight);
    std::erase_if(fused, [&](const FusedId& f) { return rows->row_of(f.id) == rows->rows(); });
    std::stable_sort(fused.begin(), fused.end(), [&](const FusedId& a, const FusedId& b) {
      if (a.score != b.score) return a.score > b.score;
      const auto ra = rows->row_of(a.id), rb = rows->row_of(b.id);
      return std::tuple(std::string_view(rows->source(ra)), rows->begin(ra)) < std::tuple(std::string_view(rows->source(rb)), rows->begin(rb));
    });
    if (options.mmr_lambda < 1 && fused.size() > 1) {
      std::vector<float> relevance;
      for (const auto& f : fused) relevance.push_back(f.score);
      const auto all = rows->vectors().vectors();
      const auto similarity = [&](std::size_t i, std::size_t j) {
        const auto a = static_cast<std::int64_t>(rows->row_of(fused[i].id)) * all.stride(0), b = static_cast<std::int64_t>(rows->row_of(fused[j].id)) * all.stride(0);
        const auto element = [&](std::int64_t at) {
          return all.dtype == DType::f16 ? half_to_float(static_cast<const std::uint16_t*>(all.data)[at]) : static_cast<const float*>(all.data)[at];
        };
        float sum = 0;
        for (std::int64_t d = 0; d < all.dim(1); ++d) sum += element(a + d) * element(b + d);
        return sum;
      };
      std::vector<FusedId> diverse;
      for (const auto i : mmr(relevance, options.k, options.mmr_lambda, similarity)) diverse.push_back(fused[i]);
      fused = std::move(diverse);
    }
    if (fused.size() > options.k) fused.resize(options.k);

    CORVID_TRY(Statement row, db.prepare("SELECT files.source, files.title, chunks.text, chunks.byte_begin, chunks.byte_end, chunks.line_first, chunks.line_last,"
                                         " chunks.page, chunks.heading, chunks.metadata, files.metadata FROM chunks JOIN files ON files.id = chunks.file WHERE chunks.id = ?1"));
    for (const auto& f : fused) {
      row.bind(1, f.id);
      CORVID_TRY(const bool any, row.step());
      if (!any) return fail(Error::internal("an indexed chunk has no row").at_key("chunk " + std::to_string(f.id)));
      Hit hit;
      hit.chunk_id = f.id;
      hit.source = row.text(0);
      hit.title = row.text(1);
      hit.text = row.text(2);
      hit.bytes = {static_cast<std::uint64_t>(row.integer(3)), static_cast<std::uint64_t>(row.integer(4))};
      hit.lines = {static_cast<std::uint64_t>(row.integer(5)), static_cast<std::uint64_t>(row.integer(6))};
      if (!row.is_null(7)) hit.page = static_cast<std::uint32_t>(row.integer(7));
      CORVID_TRY(const Json heading, parse_json(row.text(8)));
      for (const auto& part : heading) hit.heading.push_back(part.get<std::string>());
      CORVID_TRY(hit.metadata, parse_json(row.text(10)));
      CORVID_TRY(const Json record, parse_json(row.text(9)));
      if (record.is_object()) hit.metadata.update(record);
      hit.score = f.score;
      hit.scores = {f.dense, f.lexical, f.dense_rank, f.lexical_rank, f.score};
      hits.push_back(std::move(hit));
      row.reset();
    }
    return {};
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return hits;
}

}  // namespace corvid::retrieval
