#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>

#include "corvid/retrieval/lexical_index.hpp"

namespace corvid {

bool AllowedIds::contains(std::int64_t id) const noexcept {
  if (!rows) return true;
  const auto at = std::lower_bound(ids.begin(), ids.end(), id);
  return at != ids.end() && *at == id && rows->test(static_cast<std::size_t>(at - ids.begin()));
}

namespace {

constexpr std::size_t kMaxQueryWords = 1024;
constexpr std::string_view kTokenizer = "porter unicode61 remove_diacritics 2";

// One FTS5 table a collection, so that its statistics are its own and dropping it is cheap; this table says which there are and how
// their words were made.
constexpr std::array<Migration, 1> kMigrations{{{"retrieval.lexical", 1,
                                                 "CREATE TABLE lexical_collections(collection INTEGER PRIMARY KEY, tokenizer TEXT NOT NULL)"}}};

// The table's name is made of an integer alone, never of a user's text.
std::string table_of(std::int64_t collection) {
  return "lexical_" + std::string(collection < 0 ? "n" : "") + std::to_string(collection < 0 ? 0 - static_cast<std::uint64_t>(collection)
                                                                                             : static_cast<std::uint64_t>(collection));
}

Result<bool> exists(Database& db, std::int64_t collection) {
  CORVID_TRY(Statement row, db.prepare("SELECT tokenizer FROM lexical_collections WHERE collection = ?1"));
  row.bind(1, collection);
  CORVID_TRY(const bool any, row.step());
  if (any && row.text(0) != kTokenizer) {
    return fail(Error::conflict("the collection's word index was made with another tokenizer (" + std::string(row.text(0)) +
                                "); ingest the collection again"));
  }
  return any;
}

Status ensure(Database& db, std::int64_t collection) {
  CORVID_TRY(const bool have, exists(db, collection));
  if (have) return {};
  CORVID_TRY_STATUS(db.execute("CREATE VIRTUAL TABLE " + table_of(collection) + " USING fts5(text, tokenize = '" + std::string(kTokenizer) + "')"));
  CORVID_TRY(Statement row, db.prepare("INSERT INTO lexical_collections(collection, tokenizer) VALUES(?1, ?2)"));
  row.bind(1, collection);
  row.bind(2, kTokenizer);
  return row.run();
}

// Every word becomes a quoted string, so that no query is syntax. Bytes beyond ASCII stay inside a word: FTS5 splits there as Unicode
// says, into a phrase.
std::string match_expression(std::string_view query) {
  std::string out;
  std::unordered_set<std::string> seen;
  const auto in_word = [](char c) {
    const auto b = static_cast<unsigned char>(c);
    return b >= 0x80 || (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
  };
  for (std::size_t i = 0; i < query.size() && seen.size() < kMaxQueryWords;) {
    if (!in_word(query[i])) { ++i; continue; }
    std::string word;
    for (; i < query.size() && in_word(query[i]); ++i) {
      const char c = query[i];
      word.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    }
    if (!seen.insert(word).second) continue;
    if (!out.empty()) out += " OR ";
    out += '"' + word + '"';
  }
  return out;
}

bool better(const ScoredId& a, const ScoredId& b) { return a.score != b.score ? a.score > b.score : a.id < b.id; }

class Fts5Index final : public LexicalIndex {
 public:
  std::span<const Migration> migrations() const noexcept override { return kMigrations; }

  Status add(Database& db, std::int64_t collection, std::int64_t id, std::string_view text) override {
    CORVID_TRY_STATUS(ensure(db, collection));
    CORVID_TRY(Statement row, db.prepare("INSERT INTO " + table_of(collection) + "(rowid, text) VALUES(?1, ?2)"));
    row.bind(1, id);
    row.bind(2, text);
    return row.run();
  }

  Status remove(Database& db, std::int64_t collection, std::int64_t id) override {
    CORVID_TRY(const bool have, exists(db, collection));
    if (!have) return {};
    CORVID_TRY(Statement row, db.prepare("DELETE FROM " + table_of(collection) + " WHERE rowid = ?1"));
    row.bind(1, id);
    return row.run();
  }

  Status remove_collection(Database& db, std::int64_t collection) override {
    CORVID_TRY(const bool have, exists(db, collection));
    if (!have) return {};
    CORVID_TRY_STATUS(db.execute("DROP TABLE " + table_of(collection)));
    CORVID_TRY(Statement row, db.prepare("DELETE FROM lexical_collections WHERE collection = ?1"));
    row.bind(1, collection);
    return row.run();
  }

  Result<std::vector<ScoredId>> search(Database& db, std::int64_t collection, std::string_view query, std::size_t k,
                                       const AllowedIds& allowed) override {
    std::vector<ScoredId> hits;
    const std::string expression = match_expression(query);
    if (k == 0 || expression.empty()) return hits;
    CORVID_TRY(const bool have, exists(db, collection));
    if (!have) return hits;
    const std::string table = table_of(collection);
    CORVID_TRY(Statement rows, db.prepare("SELECT rowid, bm25(" + table + ") FROM " + table + " WHERE " + table + " MATCH ?1"));
    rows.bind(1, std::string_view(expression));
    // A heap of the k best, worst on top: memory is bounded by k and by the matches.
    while (true) {
      CORVID_TRY(const bool more, rows.step());
      if (!more) break;
      const std::int64_t id = rows.integer(0);
      if (!allowed.contains(id)) continue;
      const ScoredId hit{id, static_cast<float>(-rows.real(1))};
      if (hits.size() < k) {
        hits.push_back(hit);
        std::push_heap(hits.begin(), hits.end(), better);
      } else if (better(hit, hits.front())) {
        std::pop_heap(hits.begin(), hits.end(), better);
        hits.back() = hit;
        std::push_heap(hits.begin(), hits.end(), better);
      }
    }
    std::sort(hits.begin(), hits.end(), better);
    return hits;
  }
};

}  // namespace

std::unique_ptr<LexicalIndex> make_fts5_index() { return std::make_unique<Fts5Index>(); }

}  // namespace corvid
