#include "corvid/agents/chat_history.hpp"

#include <chrono>

namespace corvid {
namespace {

constexpr Migration kMigrations[] = {
    {"agents", 1,
     "CREATE TABLE thread_messages(thread TEXT NOT NULL, position INTEGER NOT NULL, at INTEGER NOT NULL, message TEXT NOT NULL,"
     " PRIMARY KEY(thread, position)) WITHOUT ROWID;"},
};

}  // namespace

Result<ChatHistory> ChatHistory::open(std::shared_ptr<Workspace> workspace) {
  CORVID_TRY_STATUS(workspace->migrate(kMigrations));
  return ChatHistory(std::move(workspace));
}

Result<std::vector<Message>> ChatHistory::load(std::string_view thread) {
  std::vector<Message> messages;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement rows, db.prepare("SELECT position, message FROM thread_messages WHERE thread = ?1 ORDER BY position"));
    rows.bind(1, thread);
    while (true) {
      CORVID_TRY(const bool more, rows.step());
      if (!more) return {};
      const auto key = std::string(thread) + "/" + std::to_string(rows.integer(0));
      auto json = parse_json(rows.text(1));
      if (!json) return fail(Error::bad_input("a stored message is not JSON; the workspace is damaged").at_key(key).caused_by(json.error()));
      auto message = message_from_json(*json);
      if (!message) return fail(std::move(message).error().at_key(key));
      messages.push_back(std::move(*message));
    }
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return messages;
}

Status ChatHistory::append(std::string_view thread, const std::vector<Message>& messages) {
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement insert,
               db.prepare("INSERT INTO thread_messages(thread, position, at, message) VALUES(?1,"
                          " (SELECT coalesce(max(position) + 1, 0) FROM thread_messages WHERE thread = ?1), ?2, ?3)"));
    for (const auto& message : messages) {
      const std::string text = dump_json(to_json(message));
      insert.bind(1, thread);
      insert.bind(2, static_cast<std::int64_t>(now));
      insert.bind(3, std::string_view(text));
      CORVID_TRY_STATUS(insert.run());
    }
    return {};
  };
  return workspace_->write(body);
}

Result<std::vector<ChatThread>> ChatHistory::list() {
  std::vector<ChatThread> threads;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement rows, db.prepare("SELECT thread, count(*), max(at) FROM thread_messages GROUP BY thread ORDER BY 3 DESC, 1"));
    while (true) {
      CORVID_TRY(const bool more, rows.step());
      if (!more) return {};
      threads.push_back({std::string(rows.text(0)), static_cast<std::uint64_t>(rows.integer(1)), rows.integer(2)});
    }
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return threads;
}

Status ChatHistory::remove(std::string_view thread) {
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement rows, db.prepare("DELETE FROM thread_messages WHERE thread = ?1"));
    rows.bind(1, thread);
    CORVID_TRY_STATUS(rows.run());
    if (db.changes() == 0) return fail(Error::not_found("no thread \"" + std::string(thread) + "\"; `corvid chat --list` shows them"));
    return {};
  };
  return workspace_->write(body);
}

}  // namespace corvid
