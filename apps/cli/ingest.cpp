// corvid ingest: documents into a collection, or out of it.
#include <algorithm>
#include <cstdio>

#include "apps/cli/collection_access.hpp"
#include "apps/cli/session.hpp"

namespace corvid::cli {

namespace {

class Ingest final : public Command {
 public:
  CommandInfo info() const override {
    return {"ingest", "documents into a collection", "  corvid ingest ./docs\n  corvid ingest ./docs ./notes --collection handbook --meta team=core --json\n  corvid ingest --remove ./docs/old.md"};
  }
  void options(OptionSet& set) override {
    set.arguments("PATH", paths_, true, "files and folders");
    where_.declare(set);
    set.text("embedder", embedder_, "the embedder of a new collection: hub folder, or a name in the model folder");
    set.texts("meta", meta_, "KEY=VALUE onto every document of this call; may be repeated");
    set.flag("remove", remove_, "take what lies under PATH out of the collection");
    set.integer("chunk-tokens", chunk_tokens_, 0, 1 << 20, "tokens of a chunk; 0 = the smaller of 512 and the embedder's limit");
    set.real("overlap", overlap_, 0, 0.5, "part of a chunk that the next one repeats");
    set.choice("chunker", chunker_, {"recursive", "sentence"}, "where text under one heading is cut");
    compute_.declare(set);
  }
  Status run(Session& session) override {
    IngestOptions options;
    CORVID_TRY_STATUS(read_meta(options));
    options.chunk_tokens = static_cast<std::uint32_t>(chunk_tokens_);
    options.overlap = static_cast<float>(overlap_);
    options.method = chunker_ == "sentence" ? ChunkMethod::sentence : ChunkMethod::recursive;
    options.cancellation = session.cancellation();
    options.progress = session.progress();
    const std::vector<std::filesystem::path> paths(paths_.begin(), paths_.end());
    if (remove_) {
      CORVID_TRY(const auto collection, open_collection(session, where_, compute_));
      CORVID_TRY(const auto report, collection->remove_paths(paths));
      return print(session, report);
    }
    CORVID_TRY(const auto collection, open(session));
    CORVID_TRY(const auto report, collection->ingest(paths, options));
    session.end_progress();
    CORVID_TRY_STATUS(print(session, report));
    if (report.files == 0 && report.deleted == 0) {
      if (!report.failed.empty()) return fail(Error::io("no file went in: " + report.failed.front().error).at_file(report.failed.front().path));
      return fail(Error::io("no file went in: nothing under the given paths is a document"));
    }
    return {};
  }

 private:
  Status read_meta(IngestOptions& options) const {
    for (const auto& pair : meta_) {
      const auto equals = pair.find('=');
      if (equals == std::string::npos || equals == 0) return fail(Error::invalid_argument("--meta \"" + pair + "\" is not KEY=VALUE").at_key("meta"));
      options.metadata.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
    }
    return {};
  }

  Result<std::shared_ptr<Collection>> open(Session& session) {
    CORVID_TRY(auto workspace, Workspace::open(where_.workspace));
    CORVID_TRY(const auto known, Collection::list(*workspace));
    const bool exists = std::any_of(known.begin(), known.end(), [&](const auto& info) { return info.name == where_.collection; });
    std::filesystem::path folder;  // empty: the collection's own
    if (!exists || !embedder_.empty()) {
      CORVID_TRY(folder, find_model(embedder_.empty() ? kDefaultEmbedder : embedder_));
      folder = std::filesystem::absolute(folder).lexically_normal();
    }
    return Collection::open_or_create(session.runtime(compute_.threads), std::move(workspace), where_.collection, embedder_factory(session, compute_), folder);
  }

  static Status print(Session& session, const IngestReport& report) {
    for (const auto& failure : report.failed) session.note(failure.path + ": " + failure.error);
    if (session.json) {
      Json failed = Json::array();
      for (const auto& failure : report.failed) failed.push_back({{"path", failure.path}, {"error", failure.error}});
      return session.write_json({{"files", report.files}, {"skipped", report.skipped}, {"chunks", report.chunks}, {"added", report.added}, {"changed", report.changed}, {"deleted", report.deleted}, {"failed", std::move(failed)}, {"seconds", report.seconds}});
    }
    char line[240];
    std::snprintf(line, sizeof line, "%llu files in the collection, %llu chunks: %llu added, %llu changed, %llu deleted, %llu skipped, %zu failed; %.1f s",
                  static_cast<unsigned long long>(report.files), static_cast<unsigned long long>(report.chunks), static_cast<unsigned long long>(report.added),
                  static_cast<unsigned long long>(report.changed), static_cast<unsigned long long>(report.deleted), static_cast<unsigned long long>(report.skipped), report.failed.size(), report.seconds);
    return session.write_line(line);
  }

  std::vector<std::string> paths_, meta_;
  WorkspaceOptionsCli where_;
  std::string embedder_, chunker_ = "recursive";
  bool remove_ = false;
  std::int64_t chunk_tokens_ = 0;
  double overlap_ = 0.15;
  ComputeOptions compute_;
};

}  // namespace

std::unique_ptr<Command> make_ingest() { return std::make_unique<Ingest>(); }

}  // namespace corvid::cli
