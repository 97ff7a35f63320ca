// corvid collections: what a workspace holds.
#include <algorithm>

#include "apps/cli/collection_access.hpp"
#include "apps/cli/session.hpp"

namespace corvid::cli {

namespace {

Json info_json(const CollectionInfo& info) {
  return {{"name", info.name}, {"embedder", info.embedder_folder}, {"embedder_identity", info.embedder_identity}, {"dimension", info.dimension},
          {"files", info.files}, {"chunks", info.chunks}, {"created_at", info.created_at}, {"updated_at", info.updated_at}};
}

class Collections final : public Command {
 public:
  CommandInfo info() const override { return {"collections", "list, show and delete collections", "  corvid collections list\n  corvid collections show default --json\n  corvid collections delete handbook"}; }
  void options(OptionSet& set) override {
    set.argument("ACTION", action_, true, "list, show or delete");
    set.argument("NAME", name_, false, "of the collection to show or delete");
    where_.declare(set, false);
  }
  Status run(Session& session) override {
    if (action_ != "list" && action_ != "show" && action_ != "delete") return fail(Error::invalid_argument("no action \"" + action_ + "\"; list, show and delete are known"));
    if (action_ == "list" && !name_.empty()) return fail(Error::invalid_argument("collections list takes no name"));
    if (action_ != "list" && name_.empty()) return fail(Error::invalid_argument("collections " + action_ + " needs a name"));
    WorkspaceOptions options;
    options.create = false;
    CORVID_TRY(const auto workspace, Workspace::open(where_.workspace, options));
    CORVID_TRY(const auto all, Collection::list(*workspace));
    if (action_ == "list") {
      Json out = Json::array();
      for (const auto& info : all) out.push_back(info_json(info));
      if (session.json) return session.write_json(out);
      for (const auto& info : all) CORVID_TRY_STATUS(session.write_line(session.bold(info.name) + "\t" + std::to_string(info.files) + " files\t" + std::to_string(info.chunks) + " chunks"));
      return {};
    }
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& info) { return info.name == name_; });
    if (found == all.end()) return fail(Error::not_found("no collection \"" + name_ + "\" in " + where_.workspace).at_file(where_.workspace));
    if (action_ == "delete") {
      CORVID_TRY_STATUS(Collection::remove(*workspace, name_));
      return session.json ? session.write_json({{"deleted", name_}}) : session.write_line("deleted " + name_);
    }
    const Json out = info_json(*found);
    if (session.json) return session.write_json(out);
    for (const auto& [key, value] : out.items()) CORVID_TRY_STATUS(session.write_line(key + ": " + (value.is_string() ? value.get<std::string>() : dump_json(value))));
    return {};
  }

 private:
  std::string action_, name_;
  WorkspaceOptionsCli where_;
};

}  // namespace

std::unique_ptr<Command> make_collections() { return std::make_unique<Collections>(); }

}  // namespace corvid::cli
