// Ingest: what changed under some paths, in batches that commit whole.
#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "corvid/base/hash.hpp"
#include "corvid/retrieval/chunker.hpp"
#include "corvid/retrieval/loader.hpp"
#include "retrieval/store/sqlite_collection.hpp"
#include "retrieval/walk/walk.hpp"

namespace corvid::retrieval {
namespace {

namespace fs = std::filesystem;

// A batch is embedded and committed together: large enough to pack the embedder's passes, small enough to lose little at a kill.
constexpr std::size_t kBatchFiles = 64, kBatchChunks = 1024;
constexpr std::uint32_t kDefaultChunkTokens = 512;

std::int64_t now_seconds() { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

Result<std::vector<std::pair<std::string, SqliteCollection::StoredFile>>> SqliteCollection::stored_under(const std::vector<fs::path>& roots) {
  std::vector<std::pair<std::string, StoredFile>> files;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare("SELECT id, source, mtime, content_hash, metadata FROM files WHERE collection = ?1 ORDER BY source"));
    row.bind(1, id_);
    while (true) {
      CORVID_TRY(const bool more, row.step());
      if (!more) return {};
      const fs::path source(std::string(row.text(1)));
      if (std::none_of(roots.begin(), roots.end(), [&](const fs::path& root) { return lies_under(source, root); })) continue;
      files.push_back({source.string(), {row.integer(0), row.integer(2), std::string(row.text(3)), std::string(row.text(4))}});
    }
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return files;
}

Status SqliteCollection::delete_file(Database& db, std::int64_t file) {
  std::vector<std::int64_t> chunks;
  {
    CORVID_TRY(Statement row, db.prepare("SELECT id FROM chunks WHERE file = ?1"));
    row.bind(1, file);
    while (true) {
      CORVID_TRY(const bool more, row.step());
      if (!more) break;
      chunks.push_back(row.integer(0));
    }
  }
  for (const auto chunk : chunks) CORVID_TRY_STATUS(lexical_->remove(db, id_, chunk));
  for (const char* sql : {"DELETE FROM chunks WHERE file = ?1", "DELETE FROM files WHERE id = ?1"}) {
    CORVID_TRY(Statement gone, db.prepare(sql));
    gone.bind(1, file);
    CORVID_TRY_STATUS(gone.run());
  }
  return {};
}

Status SqliteCollection::insert_file(Database& db, const Prepared& file) {
  CORVID_TRY(Statement insert, db.prepare("INSERT INTO files(collection, source, title, type, mtime, content_hash, metadata) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
  insert.bind(1, id_);
  insert.bind(2, std::string_view(file.document.source));
  insert.bind(3, std::string_view(file.document.title));
  insert.bind(4, std::string_view(file.document.type));
  insert.bind(5, file.document.mtime);
  insert.bind(6, std::string_view(file.document.content_hash));
  insert.bind(7, std::string_view(file.metadata));
  CORVID_TRY_STATUS(insert.run());
  const std::int64_t file_id = db.last_insert_rowid();
  CORVID_TRY(Statement row, db.prepare("INSERT INTO chunks(file, ordinal, text, byte_begin, byte_end, line_first, line_last, page, heading, metadata, tokens, vector)"
                                       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"));
  const std::size_t dimension = file.chunks.empty() ? 0 : file.vectors.size() / file.chunks.size();
  for (std::size_t i = 0; i < file.chunks.size(); ++i) {
    const Chunk& chunk = file.chunks[i];
    const std::string heading = dump_json(Json(chunk.heading)), metadata = dump_json(chunk.metadata);
    row.bind(1, file_id);
    row.bind(2, static_cast<std::int64_t>(i));
    row.bind(3, std::string_view(chunk.text));
    row.bind(4, static_cast<std::int64_t>(chunk.bytes.begin));
    row.bind(5, static_cast<std::int64_t>(chunk.bytes.end));
    row.bind(6, static_cast<std::int64_t>(chunk.lines.first));
    row.bind(7, static_cast<std::int64_t>(chunk.lines.last));
    if (chunk.page) row.bind(8, static_cast<std::int64_t>(*chunk.page));
    else row.bind_null(8);
    row.bind(9, std::string_view(heading));
    row.bind(10, std::string_view(metadata));
    row.bind(11, static_cast<std::int64_t>(chunk.tokens));
    row.bind(12, std::as_bytes(std::span(file.vectors).subspan(i * dimension, dimension)));
    CORVID_TRY_STATUS(row.run());
    CORVID_TRY_STATUS(lexical_->add(db, id_, db.last_insert_rowid(), chunk.embedded_text));
  }
  return {};
}

Status SqliteCollection::touch(Database& db) {
  CORVID_TRY(Statement row, db.prepare("UPDATE collections SET updated_at = ?2, generation = generation + 1 WHERE id = ?1"));
  row.bind(1, id_);
  row.bind(2, now_seconds());
  CORVID_TRY_STATUS(row.run());
  if (db.changes() == 0) return fail(Error::not_found("the collection \"" + info_.name + "\" was deleted meanwhile"));
  return {};
}

Status SqliteCollection::commit(std::vector<Prepared>& batch, const std::vector<std::int64_t>& replaced) {
  if (batch.empty() && replaced.empty()) return {};
  const auto body = [&](Database& db) -> Status {
    for (const auto file : replaced) CORVID_TRY_STATUS(delete_file(db, file));
    for (const auto& file : batch) {
      // Another process may have put the file in since it was looked up; the later one stands.
      CORVID_TRY(Statement twin, db.prepare("SELECT id FROM files WHERE collection = ?1 AND source = ?2"));
      twin.bind(1, id_);
      twin.bind(2, std::string_view(file.document.source));
      CORVID_TRY(const bool any, twin.step());
      if (any) {
        const auto id = twin.integer(0);
        twin.reset();
        CORVID_TRY_STATUS(delete_file(db, id));
      }
      CORVID_TRY_STATUS(insert_file(db, file));
    }
    return touch(db);
  };
  CORVID_TRY_STATUS(workspace_->write(body));
  batch.clear();
  return {};
}

Status SqliteCollection::count_under(const std::vector<fs::path>& roots, IngestReport& report) {
  CORVID_TRY(const auto files, stored_under(roots));
  report.files = files.size();
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare("SELECT count(*) FROM chunks WHERE file = ?1"));
    for (const auto& [source, file] : files) {
      row.bind(1, file.id);
      CORVID_TRY(const bool any, row.step());
      if (any) report.chunks += static_cast<std::uint64_t>(row.integer(0));
      row.reset();
    }
    return {};
  };
  return workspace_->read(body);
}

Result<IngestReport> SqliteCollection::ingest(const std::vector<fs::path>& paths, const IngestOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  IngestReport report;
  if (paths.empty()) return fail(Error::invalid_argument("name at least one file or folder").at_key("PATH"));
  CORVID_TRY(const auto model, embedder());
  CORVID_TRY(const auto specials, model->tokenizer()->encode(""));
  ChunkOptions chunking;
  const auto limit = model->max_tokens() - std::min<std::uint32_t>(model->max_tokens(), static_cast<std::uint32_t>(specials.size()));
  chunking.tokens = options.chunk_tokens != 0 ? std::min(options.chunk_tokens, limit) : std::min(kDefaultChunkTokens, limit);
  chunking.overlap = options.overlap;
  chunking.method = options.method;
  Json said = Json::object();
  for (const auto& [key, value] : options.metadata) said[key] = value;
  const std::string metadata = dump_json(said);

  CORVID_TRY(auto walked, walk(paths, options.cancellation));
  report.skipped = walked.skipped;
  CORVID_TRY(const auto stored, stored_under(walked.roots));
  std::map<std::string, StoredFile> known(stored.begin(), stored.end());
  std::set<std::string> present;
  for (const auto& file : walked.files) present.insert(file.string());
  for (auto& failure : walked.failed) {
    // A path that is gone but had files is a deletion, not a failure.
    const fs::path path = absolute_path(failure.path);
    const bool had = std::any_of(stored.begin(), stored.end(), [&](const auto& f) { return lies_under(f.first, path); });
    if (failure.error.code() == ErrorCode::not_found && had) continue;
    report.failed.push_back({failure.path, failure.error.describe()});
    // What cannot be read is not known to be gone.
    if (failure.error.code() != ErrorCode::not_found) for (const auto& [source, file] : stored) if (lies_under(source, path)) present.insert(source);
  }
  if (walked.files.empty() && stored.empty() && !walked.failed.empty()) return fail(std::move(walked.failed.front().error).at_file(walked.failed.front().path));

  std::vector<std::int64_t> deleted;
  for (const auto& [source, file] : stored) {
    if (present.contains(source)) continue;
    deleted.push_back(file.id);
    ++report.deleted;
  }
  std::vector<Prepared> batch;
  CORVID_TRY_STATUS(commit(batch, deleted));

  std::vector<std::int64_t> replaced;
  std::size_t chunks = 0;
  const auto flush = [&]() -> Status {
    std::vector<std::string_view> texts;
    for (const auto& file : batch) for (const auto& chunk : file.chunks) texts.push_back(chunk.embedded_text);
    if (!texts.empty()) {
      CORVID_TRY(const auto vectors, model->embed(texts, options.cancellation));
      std::size_t at = 0;
      for (auto& file : batch) {
        const std::size_t n = file.chunks.size() * model->dimension();
        file.vectors.assign(vectors.values.begin() + static_cast<std::ptrdiff_t>(at), vectors.values.begin() + static_cast<std::ptrdiff_t>(at + n));
        at += n;
      }
    }
    CORVID_TRY_STATUS(commit(batch, replaced));
    replaced.clear();
    chunks = 0;
    return {};
  };

  std::uint64_t done = 0;
  for (const auto& path : walked.files) {
    CORVID_TRY_STATUS(options.cancellation.check());
    const auto source = path.string();
    if (options.progress) options.progress({"ingest", done, walked.files.size(), source});
    ++done;
    const auto before = known.find(source);
    const auto hash = sha256_file(path);
    if (!hash) {
      report.failed.push_back({source, hash.error().describe()});
      continue;
    }
    if (before != known.end() && before->second.hash == to_hex(*hash) && (options.metadata.empty() || before->second.metadata == metadata)) continue;
    auto document = load_document(path, {}, options.cancellation);
    if (!document) {
      if (document.error().code() == ErrorCode::cancelled || document.error().code() == ErrorCode::deadline_exceeded) return fail(std::move(document).error());
      report.failed.push_back({source, document.error().describe()});
      continue;
    }
    auto cut = chunk_document(*document, *model->tokenizer(), chunking);
    if (!cut) {
      report.failed.push_back({source, cut.error().describe()});
      continue;
    }
    Prepared file;
    file.document = std::move(*document);
    file.document.elements.clear();
    file.chunks = std::move(*cut);
    file.metadata = options.metadata.empty() && before != known.end() ? before->second.metadata : metadata;
    if (before != known.end()) {
      replaced.push_back(before->second.id);
      ++report.changed;
    } else {
      ++report.added;
    }
    chunks += file.chunks.size();
    batch.push_back(std::move(file));
    if (batch.size() >= kBatchFiles || chunks >= kBatchChunks) CORVID_TRY_STATUS(flush());
  }
  CORVID_TRY_STATUS(flush());
  if (options.progress) options.progress({"ingest", done, walked.files.size(), ""});
  CORVID_TRY_STATUS(count_under(walked.roots, report));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

Result<IngestReport> SqliteCollection::remove_paths(const std::vector<fs::path>& paths) {
  const auto start = std::chrono::steady_clock::now();
  IngestReport report;
  std::vector<fs::path> roots;
  for (const auto& path : paths) roots.push_back(absolute_path(path));
  CORVID_TRY(const auto stored, stored_under(roots));
  std::vector<std::int64_t> gone;
  for (const auto& [source, file] : stored) gone.push_back(file.id);
  std::vector<Prepared> nothing;
  CORVID_TRY_STATUS(commit(nothing, gone));
  report.deleted = gone.size();
  for (const auto& root : roots) {
    const bool any = std::any_of(stored.begin(), stored.end(), [&](const auto& file) { return lies_under(file.first, root); });
    if (!any) report.failed.push_back({root.string(), "nothing of this path is in the collection"});
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace corvid::retrieval
