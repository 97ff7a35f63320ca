#include "apps/cli/graph_access.hpp"

#include <ctime>
#include <filesystem>

#include "apps/cli/session.hpp"
#include "corvid/storage/workspace.hpp"

namespace corvid::cli {

void GraphStoreOptions::declare(OptionSet& set) {
  set.text("workspace", workspace, "the workspace file that keeps the threads");
  set.text("postgres", postgres, "keep the threads in a PostgreSQL database instead: postgresql://user@host/database");
  set.text("encryption-key", encryption_key, "a file of 32 bytes (or 64 hexadecimal digits): everything stored is encrypted with it");
}

std::string GraphStoreOptions::flags() const {
  std::string out;
  if (!postgres.empty()) out += " --postgres URL";
  else if (workspace != GraphStoreOptions().workspace) out += " --workspace " + workspace;
  if (!encryption_key.empty()) out += " --encryption-key " + encryption_key;
  return out;
}

Result<SqliteStore> GraphStoreOptions::open_with_queue(bool create) const {
  SqliteStore store;
  if (!postgres.empty()) {
    CORVID_TRY(auto opened, open_postgres_store(postgres));
    store = {std::move(opened.saver), std::move(opened.queue)};
  } else {
    std::error_code failure;
    if (!create && !std::filesystem::exists(workspace, failure)) {
      return fail(Error::not_found("no workspace here; corvid graph run makes it").at_file(workspace));
    }
    WorkspaceOptions options;
    options.create = create;
    CORVID_TRY(auto opened, Workspace::open(workspace, options));
    CORVID_TRY(store, open_sqlite_store(std::move(opened)));
  }
  if (encryption_key.empty()) return store;
  CORVID_TRY(const auto key, read_encryption_key(encryption_key));
  store.saver = encrypt(std::move(store.saver), key);
  return store;
}

Result<std::shared_ptr<Checkpointer>> GraphStoreOptions::open(bool create) const {
  CORVID_TRY(auto store, open_with_queue(create));
  return std::move(store.saver);
}

Json interrupts_json(const std::vector<Interrupt>& interrupts) {
  Json list = Json::array();
  for (const auto& each : interrupts) list.push_back({{"id", each.id}, {"node", each.node}, {"value", each.value}, {"response_schema", each.response_schema}});
  return list;
}

Json time_json(std::int64_t unix_ms) {
  if (unix_ms == 0) return nullptr;
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace corvid::cli
