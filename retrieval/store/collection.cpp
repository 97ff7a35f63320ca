// Collections of a workspace: opening, creating, listing, removing.
#include "corvid/retrieval/collection.hpp"

#include <chrono>
#include <optional>

#include "corvid/text/unicode.hpp"
#include "retrieval/store/schema.hpp"
#include "retrieval/store/sqlite_collection.hpp"

namespace corvid {
namespace {

namespace fs = std::filesystem;

std::int64_t now_seconds() { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

constexpr std::string_view kColumns =
    "SELECT id, name, embedder_folder, embedder_identity, dimension, created_at, updated_at,"
    " (SELECT count(*) FROM files WHERE files.collection = collections.id),"
    " (SELECT count(*) FROM chunks JOIN files ON files.id = chunks.file WHERE files.collection = collections.id) FROM collections";

CollectionInfo read_info(const Statement& row) {
  CollectionInfo info;
  info.name = row.text(1);
  info.embedder_folder = row.text(2);
  info.embedder_identity = row.text(3);
  info.dimension = static_cast<std::uint32_t>(row.integer(4));
  info.created_at = row.integer(5);
  info.updated_at = row.integer(6);
  info.files = static_cast<std::uint64_t>(row.integer(7));
  info.chunks = static_cast<std::uint64_t>(row.integer(8));
  return info;
}

Result<std::optional<std::pair<std::int64_t, CollectionInfo>>> find(Workspace& workspace, std::string_view name) {
  std::optional<std::pair<std::int64_t, CollectionInfo>> found;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare(std::string(kColumns) + " WHERE name = ?1"));
    row.bind(1, name);
    CORVID_TRY(const bool any, row.step());
    if (any) found.emplace(row.integer(0), read_info(row));
    return {};
  };
  CORVID_TRY_STATUS(workspace.read(body));
  return found;
}

Error no_collection(std::string_view name, const Workspace& workspace) {
  return Error::not_found("no collection \"" + std::string(name) + "\" in " + workspace.path().string());
}

}  // namespace

Status retrieval::prepare_workspace(Workspace& workspace) {
  CORVID_TRY_STATUS(workspace.migrate(retrieval::kMigrations));
  return workspace.migrate(make_fts5_index()->migrations());
}

Result<std::shared_ptr<Collection>> Collection::open(Runtime& runtime, std::shared_ptr<Workspace> workspace, std::string name, EmbedderFactory embedders,
                                                       const CollectionOptions& options) {
  CORVID_TRY_STATUS(retrieval::prepare_workspace(*workspace));
  CORVID_TRY(auto found, find(*workspace, name));
  if (!found) return fail(no_collection(name, *workspace));
  return std::shared_ptr<Collection>(std::make_shared<retrieval::SqliteCollection>(runtime, std::move(workspace), std::move(found->second), found->first, std::move(embedders), options));
}

Result<std::shared_ptr<Collection>> Collection::open_or_create(Runtime& runtime, std::shared_ptr<Workspace> workspace, std::string name,
                                                               EmbedderFactory embedders, const fs::path& embedder_folder, const CollectionOptions& options) {
  CORVID_TRY_STATUS(retrieval::prepare_workspace(*workspace));
  if (name.empty()) return fail(Error::invalid_argument("a collection needs a name").at_key("collection"));
  CORVID_TRY(auto found, find(*workspace, name));
  std::shared_ptr<TextEmbedder> embedder;
  if (!embedder_folder.empty()) {
    CORVID_TRY(embedder, embedders(embedder_folder));
    if (found && found->second.embedder_identity != embedder->identity()) {
      return fail(Error::conflict("the collection \"" + name + "\" was made with the embedder " + found->second.embedder_folder + " (" + found->second.embedder_identity.substr(0, 12) +
                                  "), not with " + embedder_folder.string() + " (" + embedder->identity().substr(0, 12) + "); use that one or another collection"));
    }
  } else if (!found) {
    return fail(Error::invalid_argument("a new collection needs an embedder").at_key("embedder"));
  }
  if (!found) {
    const auto body = [&](Database& db) -> Status {
      // Another process may have made it since; its row stands, and the check below decides.
      CORVID_TRY(Statement insert, db.prepare("INSERT INTO collections(name, embedder_folder, embedder_identity, dimension, created_at, updated_at, generation)"
                                              " VALUES(?1, ?2, ?3, ?4, ?5, ?5, 0) ON CONFLICT(name) DO NOTHING"));
      const std::string folder = fs::absolute(embedder->folder()).lexically_normal().string();
      insert.bind(1, std::string_view(name));
      insert.bind(2, std::string_view(folder));
      insert.bind(3, std::string_view(embedder->identity()));
      insert.bind(4, static_cast<std::int64_t>(embedder->dimension()));
      insert.bind(5, now_seconds());
      return insert.run();
    };
    CORVID_TRY_STATUS(workspace->write(body));
    CORVID_TRY(found, find(*workspace, name));
    if (!found) return fail(no_collection(name, *workspace));
    if (found->second.embedder_identity != embedder->identity()) return fail(Error::conflict("the collection \"" + name + "\" has just been made with another embedder"));
  }
  auto collection = std::make_shared<retrieval::SqliteCollection>(runtime, std::move(workspace), std::move(found->second), found->first, std::move(embedders), options);
  if (embedder) collection->use_embedder(std::move(embedder));
  return std::shared_ptr<Collection>(std::move(collection));
}

Result<std::vector<CollectionInfo>> Collection::list(Workspace& workspace) {
  CORVID_TRY_STATUS(retrieval::prepare_workspace(workspace));
  std::vector<CollectionInfo> all;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare(std::string(kColumns) + " ORDER BY name"));
    while (true) {
      CORVID_TRY(const bool more, row.step());
      if (!more) return {};
      all.push_back(read_info(row));
    }
  };
  CORVID_TRY_STATUS(workspace.read(body));
  return all;
}

Status Collection::remove(Workspace& workspace, std::string_view name) {
  CORVID_TRY_STATUS(retrieval::prepare_workspace(workspace));
  const auto lexical = make_fts5_index();
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare("SELECT id FROM collections WHERE name = ?1"));
    row.bind(1, name);
    CORVID_TRY(const bool any, row.step());
    if (!any) return fail(no_collection(name, workspace));
    const std::int64_t id = row.integer(0);
    row.reset();
    CORVID_TRY_STATUS(lexical->remove_collection(db, id));
    for (const char* sql : {"DELETE FROM chunks WHERE file IN (SELECT id FROM files WHERE collection = ?1)", "DELETE FROM files WHERE collection = ?1",
                            "DELETE FROM collections WHERE id = ?1"}) {
      CORVID_TRY(Statement gone, db.prepare(sql));
      gone.bind(1, id);
      CORVID_TRY_STATUS(gone.run());
    }
    return {};
  };
  return workspace.write(body);
}

namespace retrieval {

Result<CollectionInfo> SqliteCollection::info() {
  CORVID_TRY(auto found, find(*workspace_, info_.name));
  if (!found || found->first != id_) return fail(no_collection(info_.name, *workspace_));
  return std::move(found->second);
}

Result<std::shared_ptr<TextEmbedder>> SqliteCollection::embedder() {
  std::lock_guard lock(embedder_mutex_);
  if (!embedder_) {
    CORVID_TRY(auto loaded, embedders_(info_.embedder_folder));
    if (loaded->identity() != info_.embedder_identity) {
      return fail(Error::conflict("the folder " + info_.embedder_folder + " holds another model (" + loaded->identity().substr(0, 12) + ") than the collection \"" + info_.name +
                                  "\" was made with (" + info_.embedder_identity.substr(0, 12) + "); put that model back or ingest into a new collection"));
    }
    embedder_ = std::move(loaded);
  }
  return embedder_;
}

Result<std::vector<float>> SqliteCollection::embed(const std::vector<std::string_view>& texts) {
  CORVID_TRY(const auto model, embedder());
  // Answers and passages may hold bytes that are not UTF-8; for a vector they read as U+FFFD.
  std::vector<std::string> valid;
  std::vector<std::string_view> views;
  for (const auto text : texts) valid.push_back(unicode::to_valid_utf8(text));
  views.assign(valid.begin(), valid.end());
  CORVID_TRY(auto result, model->embed(views));
  return std::move(result.values);
}

}  // namespace retrieval
}  // namespace corvid
