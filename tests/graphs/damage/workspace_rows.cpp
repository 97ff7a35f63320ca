#include "graphs/damage/workspace_rows.hpp"

#include <sqlite3.h>

#include <array>
#include <span>
#include <utility>

#include "corvid/graphs/savers.hpp"
#include "corvid/storage/workspace.hpp"
#include "graphs/persist/rows.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

namespace corvid::test {
namespace {

struct Column {
  const char* table;
  const char* name;
  int kind = -1;  // of graph_states' rows: 0 leases, 1 checkpoints, 2 values
};
constexpr std::array<Column, 40> kColumns{{
    {"graph_names", "name"}, {"graph_states", "owner", 0}, {"graph_states", "at_ms", 0},
    {"graph_spaces", "thread"}, {"graph_spaces", "ns"},
    {"graph_states", "space", 1}, {"graph_states", "name", 1}, {"graph_states", "parent", 1}, {"graph_states", "step", 1},
    {"graph_states", "source", 1}, {"graph_states", "at_ms", 1}, {"graph_states", "bytes", 1}, {"graph_states", "bytes", 1},
    {"graph_states", "channels", 1}, {"graph_states", "channels", 1}, {"graph_states", "sum", 1},
    {"graph_contents", "hash"}, {"graph_contents", "bytes"},
    {"graph_states", "name", 2}, {"graph_states", "version", 2}, {"graph_states", "base", 2}, {"graph_states", "bytes", 2}, {"graph_states", "content", 2},
    {"graph_states", "sum", 2}, {"graph_states", "kind", 2},
    {"graph_writes", "checkpoint"}, {"graph_writes", "task"}, {"graph_writes", "idx"}, {"graph_writes", "channel"}, {"graph_writes", "bytes"},
    {"graph_interrupts", "id"}, {"graph_interrupts", "ns"}, {"graph_interrupts", "checkpoint"}, {"graph_interrupts", "expires_ms"},
    {"graph_interrupts", "body"}, {"graph_interrupts", "answer"}, {"graph_interrupts", "answered_by"}, {"graph_interrupts", "closed"},
    {"graph_audit", "seq"}, {"graph_audit", "hash"},
}};

void bind_odd(Statement& row, std::span<const std::byte> old, bool is_text, Dice& dice) {
  switch (dice.below(10)) {
    case 0: row.bind_null(1); break;
    case 1: row.bind(1, extreme_number(dice)); break;
    case 2: row.bind(1, std::int64_t{0}); break;
    case 3: row.bind(1, 1e300); break;
    case 4: row.bind(1, std::string_view(odd_name(dice))); break;  // bound by copy
    case 5: row.bind(1, std::span<const std::byte>()); break;
    default: {
      Bytes bytes(old.begin(), old.end());
      mutate_stored(bytes, dice.below(2) == 0, dice);
      if (is_text) {
        row.bind(1, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      } else {
        row.bind(1, std::span<const std::byte>(bytes));
      }
      break;
    }
  }
}

// row_sum(…): the checksum that a row with these columns would have been stored with.
void row_sum(sqlite3_context* context, int count, sqlite3_value** values) {
  persist::RowSum sum;
  for (int i = 0; i < count; ++i) {
    const auto type = sqlite3_value_type(values[i]);
    if (type == SQLITE_INTEGER) {
      sum.add(sqlite3_value_int64(values[i]));
    } else if (type == SQLITE_BLOB) {
      const auto* data = static_cast<const std::byte*>(sqlite3_value_blob(values[i]));
      sum.add(std::span(data, static_cast<std::size_t>(sqlite3_value_bytes(values[i]))));
    } else {
      const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(values[i]));
      sum.add(text ? std::string_view(text, static_cast<std::size_t>(sqlite3_value_bytes(values[i]))) : std::string_view());
    }
  }
  sqlite3_result_int64(context, sum.finish());
}

// Damage by somebody who knows how.
constexpr const char* kFitSums =
    "UPDATE graph_states SET sum = row_sum(coalesce(CAST(name AS TEXT), ''), coalesce(CAST(parent AS TEXT), ''), coalesce(CAST(step AS INTEGER), 0),"
    " coalesce(CAST(source AS TEXT), ''), coalesce(CAST(at_ms AS INTEGER), 0), coalesce(CAST(bytes AS BLOB), x''), coalesce(CAST(channels AS BLOB), x'')) WHERE kind = 1;"
    "UPDATE graph_states SET sum = row_sum(coalesce(CAST(name AS TEXT), ''), coalesce(CAST(version AS INTEGER), 0), coalesce(CAST(base AS INTEGER), 0),"
    " coalesce(CAST(bytes AS BLOB), x'')) WHERE kind = 2 AND content IS NULL;"
    "UPDATE graph_writes SET sum = row_sum(coalesce(CAST(checkpoint AS TEXT), ''), coalesce(CAST(task AS TEXT), ''), coalesce(CAST(idx AS INTEGER), 0),"
    " coalesce(CAST(channel AS TEXT), ''), coalesce(CAST(bytes AS BLOB), x''));"
    "UPDATE graph_interrupts SET sum = row_sum(coalesce(CAST(id AS TEXT), ''), coalesce(CAST(ns AS TEXT), ''), coalesce(CAST(checkpoint AS TEXT), ''),"
    " coalesce(CAST(task AS TEXT), ''), coalesce(CAST(node AS TEXT), ''), coalesce(CAST(asked_ms AS INTEGER), 0), coalesce(CAST(expires_ms AS INTEGER), 0),"
    " coalesce(CAST(body AS BLOB), x'')), answer_sum = row_sum(coalesce(CAST(id AS TEXT), ''), coalesce(CAST(answered_by AS TEXT), ''),"
    " coalesce(CAST(answered_ms AS INTEGER), 0), coalesce(CAST(answer AS BLOB), x''))";

}  // namespace

std::string workspace_with(const std::filesystem::path& scratch, const std::string& thread_id, const StoreImage& image) {
  {
    auto workspace = Workspace::open(scratch);
    REQUIRE(workspace);
    auto store = open_sqlite_store(*workspace);
    REQUIRE(store);
    store_image(*store->saver, thread_id, image);
    REQUIRE(store->saver->append_audit({0, 1, "ana", "approve", "x", {}, {}, {}}));
    REQUIRE(store->saver->append_audit({0, 2, "ana", "reject", "y", {}, {}, {}}));
  }
  {
    // Not through Database, whose connections do not let the schema be written.
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open(scratch.c_str(), &db) == SQLITE_OK);
    CHECK(SQLITE_OK == sqlite3_exec(db, "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table' AND name LIKE 'graph%';"
                        "PRAGMA writable_schema = RESET; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE", nullptr, nullptr, nullptr));
    sqlite3_close(db);
  }
  auto bytes = read_file(scratch);
  std::filesystem::remove(scratch);
  return bytes;
}

void mutate_row(const std::filesystem::path& workspace, Dice& dice) {
  auto db = Database::open(workspace, false, 1'000);
  REQUIRE(db);
  const auto& column = kColumns[dice.below(kColumns.size())];
  const std::string table = column.table, name = column.name, only = column.kind < 0 ? "" : " WHERE kind = " + std::to_string(column.kind);
  std::int64_t count = 0;
  {
    auto rows = db->prepare("SELECT count(*) FROM " + table + only);
    REQUIRE(rows);
    REQUIRE(rows->step());
    count = rows->integer(0);
  }
  if (count == 0) return;
  // Tables without rowid are told apart by all of their columns: one row's place among them is enough here.
  const std::string key = table == "graph_states" ? "space || kind || name || version" : table == "graph_names" ? "name" : table == "graph_writes" ? "checkpoint || task || idx"
                          : table == "graph_interrupts" ? "id" : "rowid";
  auto row = db->prepare("SELECT CAST(" + name + " AS BLOB), typeof(" + name + "), " + key + " FROM " + table + only + " LIMIT 1 OFFSET " +
                         std::to_string(dice.below(static_cast<std::size_t>(count))));
  REQUIRE(row);
  REQUIRE(row->step());
  auto change = db->prepare("UPDATE OR IGNORE " + table + " SET " + name + " = ?1 WHERE " + key + " = ?2");
  REQUIRE(change);
  bind_odd(*change, row->blob(0), row->text(1) == "text", dice);
  if (key == "rowid") {
    change->bind(2, row->integer(2));
  } else {
    change->bind(2, row->text(2));
  }
  (void)row->step();
  row->reset();
  if (!change->run()) return;  // SQLite itself refuses some: a row number that is no number
  if (dice.below(3) != 0) {
    REQUIRE(sqlite3_create_function(db->handle(), "row_sum", -1, SQLITE_UTF8, nullptr, &row_sum, nullptr, nullptr) == SQLITE_OK);
    REQUIRE(db->execute(kFitSums));
  }
}

}  // namespace corvid::test
