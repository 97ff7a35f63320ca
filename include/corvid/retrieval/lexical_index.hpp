// LexicalIndex: ranked word search over the chunks of a collection, stored in the workspace.
//
//   auto lexical = make_fts5_index();
//   CORVID_TRY_STATUS(workspace->migrate(lexical->migrations()));
//   CORVID_TRY_STATUS(workspace->write([&](Database& db) { return lexical->add(db, collection, chunk_id, text); }));
//   CORVID_TRY_STATUS(workspace->read([&](Database& db) -> Status {
//     CORVID_TRY(hits, lexical->search(db, collection, "heart failure", 100)); return {}; }));
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/retrieval/row_bitmap.hpp"
#include "corvid/storage/workspace.hpp"

namespace corvid {

/// One result of an index. A higher score is better.
struct ScoredId {
  std::int64_t id = 0;
  float score = 0;
  bool operator==(const ScoredId&) const = default;
};

/// Which ids may be returned: ids[row], ascending, and a bit for each row. Borrowed for the call.
struct AllowedIds {
  std::span<const std::int64_t> ids;
  const RowBitmap* rows = nullptr;         ///< null: every id, whether or not it is in `ids`
  bool contains(std::int64_t id) const noexcept;
};

/// Holds no connection: every call works on the caller's Database, inside the caller's transaction. Thread-safe.
class LexicalIndex {
 public:
  virtual ~LexicalIndex() = default;
  /// The index's own tables, under a module name of their own ("retrieval.lexical"); they live as long as the program.
  virtual std::span<const Migration> migrations() const noexcept = 0;
  /// Adds a text under an id. Errors: conflict (the id is there already), io.
  virtual Status add(Database& db, std::int64_t collection, std::int64_t id, std::string_view text) = 0;
  /// Takes an id out; an id that is not there is no error.
  virtual Status remove(Database& db, std::int64_t collection, std::int64_t id) = 0;
  /// Drops all of a collection.
  virtual Status remove_collection(Database& db, std::int64_t collection) = 0;
  /// The k best ids, best first, equal scores by lower id. The query's words are joined by OR; nothing in it is syntax.
  /// Statistics (document frequency, mean length) are the collection's. A query without a word finds nothing; of a very long
  /// query the first 1,024 distinct words count.
  virtual Result<std::vector<ScoredId>> search(Database& db, std::int64_t collection, std::string_view query, std::size_t k,
                                               const AllowedIds& allowed = {}) = 0;
};

/// SQLite's FTS5: Unicode words, diacritics removed, Porter stemming, BM25 with k1 = 1.2, b = 0.75 (Robertson & Zaragoza 2009).
std::unique_ptr<LexicalIndex> make_fts5_index();

}  // namespace corvid
