#include "apps/cli/collection_access.hpp"

#include <system_error>

#include "apps/cli/session.hpp"

namespace corvid::cli {

void WorkspaceOptionsCli::declare(OptionSet& set, bool with_collection) {
  set.text("workspace", workspace, "the workspace file");
  if (with_collection) set.text("collection", collection, "the collection's name");
}

EmbedderFactory embedder_factory(Session& session, const ComputeOptions& options) {
  return [&session, options](const std::filesystem::path& folder) { return load_embedder(session, folder, options); };
}

Result<std::shared_ptr<Collection>> open_collection(Session& session, const WorkspaceOptionsCli& where, const ComputeOptions& options) {
  std::error_code failure;
  if (!std::filesystem::exists(where.workspace, failure)) {
    return fail(Error::not_found("no collection \"" + where.collection + "\" in " + where.workspace + "; corvid ingest PATH makes it").at_file(where.workspace));
  }
  WorkspaceOptions workspace_options;
  workspace_options.create = false;
  CORVID_TRY(auto workspace, Workspace::open(where.workspace, workspace_options));
  return Collection::open(session.runtime(options.threads), std::move(workspace), where.collection, embedder_factory(session, options));
}

Json hit_json(const Hit& hit) {
  Json out = {{"source", hit.source}, {"heading", hit.heading}, {"lines", {hit.lines.first, hit.lines.last}}, {"bytes", {hit.bytes.begin, hit.bytes.end}}, {"score", hit.score}, {"text", hit.text}};
  if (hit.page) out["page"] = *hit.page;
  return out;
}

std::string place_text(const Hit& hit) {
  std::string place = hit.source;
  for (std::size_t i = 0; i < hit.heading.size(); ++i) place += (i ? " > " : ", ") + hit.heading[i];
  if (hit.page) return place + ", page " + std::to_string(*hit.page);
  return place + ", lines " + std::to_string(hit.lines.first) + "-" + std::to_string(hit.lines.last);
}

}  // namespace corvid::cli
