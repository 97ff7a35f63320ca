// SqliteCollection: the Collection in a workspace. ingest.cpp fills it, query/search.cpp asks it.
#pragma once

#include <mutex>

#include "corvid/retrieval/collection.hpp"
#include "corvid/retrieval/lexical_index.hpp"
#include "retrieval/store/snapshot.hpp"

namespace corvid::retrieval {

class SqliteCollection final : public Collection {
 public:
  SqliteCollection(Runtime& runtime, std::shared_ptr<Workspace> workspace, CollectionInfo info, std::int64_t id, EmbedderFactory embedders, const CollectionOptions& options)
      : runtime_(runtime), workspace_(std::move(workspace)), info_(std::move(info)), id_(id), embedders_(std::move(embedders)), options_(options), lexical_(make_fts5_index()) {}

  Result<IngestReport> ingest(const std::vector<std::filesystem::path>& paths, const IngestOptions& options) override;
  Result<IngestReport> remove_paths(const std::vector<std::filesystem::path>& paths) override;
  Result<std::vector<Hit>> search(std::string_view query, const SearchOptions& options, const CancellationToken& cancellation) override;
  Result<CollectionInfo> info() override;
  Result<std::vector<float>> embed(const std::vector<std::string_view>& texts) override;

  /// The embedder, loaded when first needed. Errors: conflict when the folder now holds another model than at the first ingest.
  Result<std::shared_ptr<TextEmbedder>> embedder();
  void use_embedder(std::shared_ptr<TextEmbedder> embedder) { embedder_ = std::move(embedder); }

 private:
  struct StoredFile { std::int64_t id = 0, mtime = 0; std::string hash, metadata; };
  struct Prepared { Document document; std::vector<Chunk> chunks; std::vector<float> vectors; std::string metadata; };

  Result<std::vector<std::pair<std::string, StoredFile>>> stored_under(const std::vector<std::filesystem::path>& roots);
  Status delete_file(Database& db, std::int64_t file);
  Status insert_file(Database& db, const Prepared& file);
  Status touch(Database& db);
  Status commit(std::vector<Prepared>& batch, const std::vector<std::int64_t>& replaced);
  Status count_under(const std::vector<std::filesystem::path>& roots, IngestReport& report);
  Result<std::shared_ptr<const Snapshot>> snapshot(Database& db);

  Runtime& runtime_;
  std::shared_ptr<Workspace> workspace_;
  CollectionInfo info_;
  std::int64_t id_ = 0;
  EmbedderFactory embedders_;
  CollectionOptions options_;
  std::unique_ptr<LexicalIndex> lexical_;
  std::mutex embedder_mutex_, snapshot_mutex_;
  std::shared_ptr<TextEmbedder> embedder_;
  std::shared_ptr<const Snapshot> snapshot_;
};

Status prepare_workspace(Workspace& workspace);

}  // namespace corvid::retrieval
