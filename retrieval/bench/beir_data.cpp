#include "retrieval/bench/beir_data.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>

#include "corvid/base/function_ref.hpp"
#include "corvid/base/json.hpp"

namespace corvid::retrieval {
namespace {

namespace fs = std::filesystem;

Status each_line(const fs::path& path, const CancellationToken& cancellation, FunctionRef<Status(std::string_view, std::uint64_t)> use) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Error::not_found("cannot read the file").at_file(path.string()));
  std::string line;
  std::uint64_t offset = 0;
  while (std::getline(in, line)) {
    CORVID_TRY_STATUS(cancellation.check());
    const auto begin = offset;
    offset += line.size() + 1;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    if (auto used = use(line, begin); !used) return fail(std::move(used).error().at_file(path.string()));
  }
  if (in.bad()) return fail(Error::io("reading failed").at_file(path.string()));
  return {};
}

Result<std::string> field(const Json& record, const char* key, bool required, std::uint64_t offset) {
  const auto found = record.find(key);
  if (found == record.end() && !required) return std::string();
  if (found == record.end() || !found->is_string()) return fail(Error::bad_input(std::string("a record needs a string \"") + key + "\"").at_offset(offset));
  return found->get<std::string>();
}

Status read_records(const fs::path& path, bool titled, const CancellationToken& cancellation, std::vector<BeirText>& out) {
  const auto body = [&](std::string_view line, std::uint64_t offset) -> Status {
    auto record = parse_json(line);
    if (!record) return fail(Error::bad_input("a line is not JSON: " + record.error().message()).at_offset(offset));
    if (!record->is_object()) return fail(Error::bad_input("a line is not a JSON object").at_offset(offset));
    CORVID_TRY(std::string id, field(*record, "_id", true, offset));
    CORVID_TRY(std::string text, field(*record, "text", true, offset));
    if (titled) {
      CORVID_TRY(const std::string title, field(*record, "title", false, offset));
      if (!title.empty()) text = title + " " + text;
    }
    out.push_back({std::move(id), std::move(text)});
    return {};
  };
  return each_line(path, cancellation, body);
}

}  // namespace

Result<BeirData> BeirData::read(const fs::path& folder, const std::string& split, const CancellationToken& cancellation) {
  BeirData data;
  std::error_code ec;
  if (!fs::is_directory(folder, ec)) return fail(Error::not_found("no such folder; a BEIR data set holds corpus.jsonl, queries.jsonl and qrels/").at_file(folder.string()));
  std::vector<fs::path> corpora;
  for (const auto& entry : fs::directory_iterator(folder, ec)) {
    const auto name = entry.path().filename().string();
    if (name == "corpus.jsonl" || (name.starts_with("corpus-") && name.ends_with(".jsonl"))) corpora.push_back(entry.path());
  }
  if (corpora.empty()) return fail(Error::not_found("no corpus.jsonl and no corpus-*.jsonl here").at_file(folder.string()));
  std::sort(corpora.begin(), corpora.end());
  for (const auto& path : corpora) CORVID_TRY_STATUS(read_records(path, true, cancellation, data.documents));

  bool first = true;
  const auto body = [&](std::string_view line, std::uint64_t offset) -> Status {
    const auto a = line.find('\t'), b = a == line.npos ? a : line.find('\t', a + 1);
    if (b == line.npos) return fail(Error::bad_input("a judgement is: query TAB document TAB grade").at_offset(offset));
    const auto grade = line.substr(b + 1);
    int value = 0;
    const auto [end, code] = std::from_chars(grade.data(), grade.data() + grade.size(), value);
    const bool header = first;
    first = false;
    if (code != std::errc() || end != grade.data() + grade.size()) {
      if (header) return {};  // the column names
      return fail(Error::bad_input("a grade is not a whole number").at_offset(offset));
    }
    data.judgements[std::string(line.substr(0, a))][std::string(line.substr(a + 1, b - a - 1))] = value;
    return {};
  };
  CORVID_TRY_STATUS(each_line(folder / "qrels" / (split + ".tsv"), cancellation, body));
  std::vector<BeirText> queries;
  CORVID_TRY_STATUS(read_records(folder / "queries.jsonl", false, cancellation, queries));
  for (auto& query : queries) if (data.judgements.contains(query.id)) data.queries.push_back(std::move(query));
  if (data.queries.size() != data.judgements.size()) {
    return fail(Error::bad_input(std::to_string(data.judgements.size()) + " queries are judged, " + std::to_string(data.queries.size()) + " of them have a text").at_file((folder / "queries.jsonl").string()));
  }
  if (data.queries.empty()) return fail(Error::bad_input("no query is judged").at_file((folder / "qrels" / (split + ".tsv")).string()));
  return data;
}

double ndcg_at_10(const std::vector<std::string>& ranked, const std::map<std::string, int>& grades) {
  const auto discount = [](std::size_t rank) { return std::log2(static_cast<double>(rank) + 2); };
  double gained = 0, best = 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(ranked.size(), 10); ++i) {
    const auto grade = grades.find(ranked[i]);
    if (grade != grades.end() && grade->second > 0) gained += grade->second / discount(i);
  }
  std::vector<int> ideal;
  for (const auto& [document, grade] : grades) if (grade > 0) ideal.push_back(grade);
  std::sort(ideal.rbegin(), ideal.rend());
  for (std::size_t i = 0; i < std::min<std::size_t>(ideal.size(), 10); ++i) best += ideal[i] / discount(i);
  return best > 0 ? gained / best : 0;
}

double recall_at_100(const std::vector<std::string>& ranked, const std::map<std::string, int>& grades) {
  double relevant = 0, found = 0;
  for (const auto& [document, grade] : grades) relevant += grade > 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(ranked.size(), 100); ++i) {
    const auto grade = grades.find(ranked[i]);
    found += grade != grades.end() && grade->second > 0;
  }
  return relevant > 0 ? found / relevant : 0;
}

}  // namespace corvid::retrieval
