// What a first program of a user does: counts a text's tokens and keeps the number in a workspace. Usage: consumer FOLDER
#include <corvid/storage/workspace.hpp>
#include <corvid/text/tokenizer.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace {

constexpr const char* kTokenizer = R"({
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "a": 1, "raven": 2, "##s": 3, "call": 4}},
  "normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"}
})";

corvid::Result<std::int64_t> run(const std::filesystem::path& folder) {
  const auto file = folder / "tokenizer.json";
  std::ofstream(file) << kTokenizer;
  CORVID_TRY(auto tokenizer, corvid::Tokenizer::open(file));
  CORVID_TRY(const auto tokens, tokenizer->count("A raven calls"));

  CORVID_TRY(auto workspace, corvid::Workspace::open(folder / "consumer.db"));
  CORVID_TRY_STATUS(workspace->write([&](corvid::Database& db) -> corvid::Status {
    CORVID_TRY_STATUS(db.execute("CREATE TABLE counts (tokens INTEGER)"));
    CORVID_TRY(auto insert, db.prepare("INSERT INTO counts VALUES (?1)"));
    insert.bind(1, static_cast<std::int64_t>(tokens));
    return insert.run();
  }));
  std::int64_t kept = 0;
  CORVID_TRY_STATUS(workspace->read([&](corvid::Database& db) -> corvid::Status {
    CORVID_TRY(auto rows, db.prepare("SELECT tokens FROM counts"));
    CORVID_TRY(const bool found, rows.step());
    if (found) kept = rows.integer(0);
    return {};
  }));
  return kept;
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  const auto missing = corvid::Tokenizer::open(std::filesystem::path(argv[1]) / "none.gguf");
  if (missing || missing.error().code() != corvid::ErrorCode::not_found) {
    std::fprintf(stderr, "a missing model is not reported as not found\n");
    return 1;
  }
  const auto kept = run(argv[1]);
  if (!kept) {
    std::fprintf(stderr, "%s\n", kept.error().describe().c_str());
    return 1;
  }
  std::printf("%lld tokens\n", static_cast<long long>(*kept));
  return *kept == 4 ? 0 : 1;  // a raven call ##s
}
