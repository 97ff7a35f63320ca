#include "retrieval/store/snapshot.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "corvid/base/json.hpp"

namespace corvid::retrieval {
namespace {

// Fills dictionary-coded columns row by row; rows without a key stay missing.
class ColumnBuilder {
 public:
  void put(std::map<std::string, FilterColumn, std::less<>>& columns, const std::string& key, std::size_t row, FilterValue value) {
    FilterColumn& column = columns[key];
    column.codes.resize(row, FilterColumn::kMissing);
    column.codes.push_back(code(column, key, std::move(value)));
  }
  std::uint32_t code(FilterColumn& column, const std::string& key, FilterValue value) {
    auto& known = dictionaries_[key];
    std::string name = std::to_string(value.index()) + ":";
    if (const auto* text = std::get_if<std::string>(&value)) name += *text;
    else if (const auto* number = std::get_if<double>(&value)) name.append(reinterpret_cast<const char*>(number), sizeof *number);
    else name += std::get<bool>(value) ? '1' : '0';
    const auto [entry, added] = known.try_emplace(std::move(name), static_cast<std::uint32_t>(column.values.size()));
    if (added) column.values.push_back(std::move(value));
    return entry->second;
  }

 private:
  std::map<std::string, std::unordered_map<std::string, std::uint32_t>> dictionaries_;
};

std::optional<FilterValue> filter_value(const Json& json) {
  if (json.is_string()) return FilterValue(json.get<std::string>());
  if (json.is_boolean()) return FilterValue(json.get<bool>());
  if (json.is_number()) return FilterValue(json.get<double>());
  return std::nullopt;  // arrays, objects and null cannot be compared
}

bool built_in(std::string_view key) {
  return key == "source" || key == "title" || key == "heading" || key == "type" || key == "mtime" || key == "page";
}

Result<Json> stored_json(std::string_view text, std::int64_t chunk) {
  auto json = parse_json(text);
  if (!json) return fail(Error::bad_input("a stored value is not JSON; the workspace is damaged").at_key("chunk " + std::to_string(chunk)).caused_by(std::move(json).error()));
  return json;
}

}  // namespace

Result<std::shared_ptr<const Snapshot>> Snapshot::load(Database& db, std::int64_t collection, std::int64_t generation, std::uint32_t dimension, DType storage,
                                                       MemoryBudget& budget) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->generation_ = generation;
  CORVID_TRY(snapshot->vectors_, make_exact_index(budget, dimension, storage));
  CORVID_TRY(Statement count, db.prepare("SELECT count(*) FROM chunks JOIN files ON files.id = chunks.file WHERE files.collection = ?1"));
  count.bind(1, collection);
  CORVID_TRY(const bool counted, count.step());
  if (counted) CORVID_TRY_STATUS(snapshot->vectors_->reserve(static_cast<std::size_t>(count.integer(0))));

  CORVID_TRY(Statement rows, db.prepare("SELECT chunks.id, files.id, files.source, files.title, files.type, files.mtime, files.metadata, chunks.byte_begin,"
                                        " chunks.page, chunks.heading, chunks.metadata, chunks.vector"
                                        " FROM chunks JOIN files ON files.id = chunks.file WHERE files.collection = ?1 ORDER BY chunks.id"));
  rows.bind(1, collection);
  ColumnBuilder builder;
  std::unordered_map<std::int64_t, std::pair<std::uint32_t, Json>> files;
  std::vector<float> vector(dimension);
  FilterColumn& headings = snapshot->columns_["heading"];
  headings.offsets.push_back(0);
  while (true) {
    CORVID_TRY(const bool more, rows.step());
    if (!more) break;
    const std::size_t row = snapshot->begins_.size();
    const std::int64_t id = rows.integer(0);
    auto file = files.find(rows.integer(1));
    if (file == files.end()) {
      CORVID_TRY(Json metadata, stored_json(rows.text(6), id));
      file = files.emplace(rows.integer(1), std::pair(static_cast<std::uint32_t>(snapshot->sources_.size()), std::move(metadata))).first;
      snapshot->sources_.emplace_back(rows.text(2));
    }
    const auto put = [&](const std::string& key, FilterValue value) { builder.put(snapshot->columns_, key, row, std::move(value)); };
    snapshot->source_of_.push_back(file->second.first);
    snapshot->begins_.push_back(static_cast<std::uint64_t>(rows.integer(7)));
    put("source", std::string(rows.text(2)));
    put("title", std::string(rows.text(3)));
    put("type", std::string(rows.text(4)));
    put("mtime", static_cast<double>(rows.integer(5)));
    if (!rows.is_null(8)) put("page", static_cast<double>(rows.integer(8)));
    CORVID_TRY(const Json heading, stored_json(rows.text(9), id));
    if (heading.is_array()) for (const auto& part : heading) if (part.is_string()) headings.codes.push_back(builder.code(headings, "heading", part.get<std::string>()));
    headings.offsets.push_back(static_cast<std::uint32_t>(headings.codes.size()));
    // A record's own field is nearer than what was said of the whole call.
    CORVID_TRY(const Json record, stored_json(rows.text(10), id));
    if (record.is_object()) for (const auto& [key, value] : record.items()) {
      if (auto known = filter_value(value); known && !built_in(key)) put(key, std::move(*known));
    }
    for (const auto& [key, value] : file->second.second.items()) {
      if (auto known = filter_value(value); known && !built_in(key) && !(record.is_object() && record.contains(key))) put(key, std::move(*known));
    }
    const auto blob = rows.blob(11);
    if (blob.size() != vector.size() * sizeof(float)) return fail(Error::bad_input("a stored vector has " + std::to_string(blob.size()) + " bytes instead of " + std::to_string(vector.size() * sizeof(float)) + "; the workspace is damaged").at_key("chunk " + std::to_string(id)));
    std::memcpy(vector.data(), blob.data(), blob.size());
    CORVID_TRY_STATUS(snapshot->vectors_->add(std::span(&id, 1), ConstTensorView(vector.data(), DType::f32, {1, static_cast<std::int64_t>(dimension)})));
  }
  for (auto& [key, column] : snapshot->columns_) if (key != "heading") column.codes.resize(snapshot->begins_.size(), FilterColumn::kMissing);
  return std::shared_ptr<const Snapshot>(std::move(snapshot));
}

const FilterColumn* Snapshot::column(std::string_view key) const {
  const auto found = columns_.find(key);
  return found == columns_.end() ? nullptr : &found->second;
}

std::size_t Snapshot::row_of(std::int64_t id) const {
  const auto ids = vectors_->ids();
  const auto at = std::lower_bound(ids.begin(), ids.end(), id);
  return at != ids.end() && *at == id ? static_cast<std::size_t>(at - ids.begin()) : rows();
}

}  // namespace corvid::retrieval
