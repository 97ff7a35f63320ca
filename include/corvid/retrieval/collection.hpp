// Collection: a named set of chunks with text, metadata, vectors and postings, in a workspace.
//
//   CORVID_TRY(auto docs, Collection::open_or_create(runtime, workspace, "default", embedder_factory));
//   CORVID_TRY(auto report, docs->ingest({"./docs"}, {}));
//   CORVID_TRY(auto hits, docs->search("how do I …", {}));
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/progress.hpp"
#include "corvid/embed/text_embedder.hpp"
#include "corvid/retrieval/chunker.hpp"
#include "corvid/retrieval/document.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/storage/workspace.hpp"
#include "corvid/tensor/dtype.hpp"

namespace corvid {

enum class SearchMode : std::uint8_t { dense, lexical, hybrid };
enum class Fusion : std::uint8_t { rrf, convex };

struct SearchOptions {
  std::size_t k = 10;
  SearchMode mode = SearchMode::hybrid;
  std::string filter;                      ///< "type = \"markdown\" and page < 10"; empty = all
  Fusion fusion = Fusion::convex;
  float convex_weight = 0.5f;              ///< of the dense score
  int rrf_k = 60;
  std::size_t depth = 100;                 ///< candidates taken from each side before fusion
  float mmr_lambda = 1.0f;                 ///< < 1: maximal marginal relevance (Carbonell & Goldstein 1998)
};

/// The scores behind a hit; nullopt where that side did not return it.
struct HitScores { std::optional<float> dense, lexical; std::optional<std::uint32_t> dense_rank, lexical_rank; float fused = 0; };

struct Hit {
  std::int64_t chunk_id = 0;
  std::string source, title, text;
  std::vector<std::string> heading;
  LineRange lines;
  ByteRange bytes;
  std::optional<std::uint32_t> page;
  float score = 0;                         ///< what the list is ordered by; equal scores by source, then byte
  HitScores scores;
  Json metadata = Json::object();
};

struct IngestOptions {
  std::vector<std::pair<std::string, std::string>> metadata;  ///< --meta KEY=VALUE, onto every document of this call
  std::uint32_t chunk_tokens = 0;          ///< 0: the smaller of 512 and the embedder's limit less its specials
  float overlap = 0.15f;                   ///< as ChunkOptions
  ChunkMethod method = ChunkMethod::recursive;
  CancellationToken cancellation;
  ProgressSink progress;
};

struct IngestFailure { std::string path, error; };
struct IngestReport {
  std::uint64_t files = 0;                 ///< files that are in the collection after the call, under its paths
  std::uint64_t skipped = 0;               ///< hidden, ignored, binary, links out of the folder
  std::uint64_t chunks = 0;                ///< of those files
  std::uint64_t added = 0, changed = 0, deleted = 0;          ///< files
  std::vector<IngestFailure> failed;
  double seconds = 0;
};

struct CollectionInfo {
  std::string name, embedder_folder, embedder_identity;
  std::uint32_t dimension = 0;
  std::uint64_t files = 0, chunks = 0;
  std::int64_t created_at = 0, updated_at = 0;
};

struct CollectionOptions {
  DType storage = DType::f32;              ///< of the vectors that a search holds in memory: f32, or f16 for half of that; files keep f32
};

/// Loads the embedder of a collection when first needed. The folder is the collection's own, or the one asked for.
using EmbedderFactory = std::function<Result<std::shared_ptr<TextEmbedder>>(const std::filesystem::path& folder)>;

/// Thread-safe; several processes may open the same workspace. Blocking calls: run them off the I/O thread.
class Collection {
 public:
  virtual ~Collection() = default;

  /// Errors: not_found `no collection "default" in W`.
  static Result<std::shared_ptr<Collection>> open(Runtime& runtime, std::shared_ptr<Workspace> workspace, std::string name, EmbedderFactory embedders,
                                                  const CollectionOptions& options = {});
  /// Creates it with this embedder; an existing one must have been made with the same (conflict naming both) — an empty folder takes
  /// the collection's own.
  static Result<std::shared_ptr<Collection>> open_or_create(Runtime& runtime, std::shared_ptr<Workspace> workspace, std::string name,
                                                            EmbedderFactory embedders, const std::filesystem::path& embedder_folder, const CollectionOptions& options = {});
  static Result<std::vector<CollectionInfo>> list(Workspace& workspace);
  static Status remove(Workspace& workspace, std::string_view name);

  /// Files and folders. Incremental by content hash (chunk settings apply to what is added or changed); a file is deleted from the collection only if it lay under one of `paths`.
  /// Each batch of files commits whole: after a kill at any instant the collection is as before or after a batch.
  virtual Result<IngestReport> ingest(const std::vector<std::filesystem::path>& paths, const IngestOptions& options) = 0;
  /// Takes out what lies under `paths`, whether or not the files still exist.
  virtual Result<IngestReport> remove_paths(const std::vector<std::filesystem::path>& paths) = 0;
  /// Errors: bad_input (filter syntax: byte offset), not_found, cancelled.
  virtual Result<std::vector<Hit>> search(std::string_view query, const SearchOptions& options, const CancellationToken& cancellation = {}) = 0;
  virtual Result<CollectionInfo> info() = 0;
  /// Cosine similarity of texts with the collection's embedder: [texts] unit vectors, row-major. For attribution.
  virtual Result<std::vector<float>> embed(const std::vector<std::string_view>& texts) = 0;
};

}  // namespace corvid
