// --workspace, --collection, --embedder, and opening what they name.
#pragma once

#include <memory>
#include <string>

#include "apps/cli/command.hpp"
#include "apps/cli/models.hpp"
#include "corvid/base/json.hpp"
#include "corvid/retrieval/collection.hpp"

namespace corvid::cli {

class Session;

/// Without --workspace: $CORVID_WORKSPACE, else ./corvid.db.
struct WorkspaceOptionsCli {
  std::string workspace = "corvid.db";
  std::string collection = "default";
  void declare(OptionSet& set, bool with_collection = true);
};

/// The embedder is the collection's own; it is loaded when first needed.
EmbedderFactory embedder_factory(Session& session, const ComputeOptions& options);
/// Errors: not_found `no collection "default" in W`, also where W itself does not exist.
Result<std::shared_ptr<Collection>> open_collection(Session& session, const WorkspaceOptionsCli& where, const ComputeOptions& options);

Json hit_json(const Hit& hit);
/// "path, Heading > Sub, lines 3-9".
std::string place_text(const Hit& hit);

}  // namespace corvid::cli
