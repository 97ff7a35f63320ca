// ChatHistory: the conversations of `corvid chat`, kept in the workspace by thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/llm/message.hpp"
#include "corvid/storage/workspace.hpp"

namespace corvid {

struct ChatThread {
  std::string id;
  std::uint64_t messages = 0;
  std::int64_t updated_at = 0;  ///< seconds since 1970
};

/// Thread-safe as the workspace is.
class ChatHistory {
 public:
  /// Creates its tables on first use. Errors: as Workspace::migrate.
  static Result<ChatHistory> open(std::shared_ptr<Workspace> workspace);

  /// Oldest first; empty for a thread that does not exist. Errors: io, bad_input (a damaged row, named).
  Result<std::vector<Message>> load(std::string_view thread);
  /// Appends in one transaction: either the whole turn is kept or nothing.
  Status append(std::string_view thread, const std::vector<Message>& messages);
  Result<std::vector<ChatThread>> list();  ///< most recent first
  Status remove(std::string_view thread);  ///< errors: not_found

 private:
  explicit ChatHistory(std::shared_ptr<Workspace> workspace) : workspace_(std::move(workspace)) {}
  std::shared_ptr<Workspace> workspace_;
};

}  // namespace corvid
