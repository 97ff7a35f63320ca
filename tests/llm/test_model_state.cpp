// Sequences as state that graphs fork, join and checkpoint: saves with and without KV, what damage costs, and who holds which page.
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
#include "llm/engine/sequence_impl.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

using Saved = std::vector<std::byte>;
constexpr std::size_t kDigest = 32;

std::shared_ptr<Engine> load(Runtime& runtime, const std::filesystem::path& path, EngineOptions options = {}) {
  auto engine = Engine::load_blocking(runtime, path, options);
  if (!engine) FAIL(engine.error().describe());
  return *engine;
}

// The tiny model `name`, below `dir`.
std::filesystem::path tiny(const TempDir& dir, const std::string& name = "llama-llama3") {
  static const TinyModels models;
  const auto path = dir / (name + ".gguf");
  write_file(path, models.gguf(models.decoder(name)).bytes());
  return path;
}

std::vector<TokenId> some_ids(std::size_t n) {
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<TokenId>(3 + (i * 37 + i / 11) % 120));
  return ids;
}

SamplingParams drawn(std::uint64_t seed) {
  SamplingParams sampling;
  sampling.temperature = 0.9f;
  sampling.top_p = 0.95f;
  sampling.seed = seed;
  return sampling;
}

std::vector<TokenId> next(Sequence& sequence, int tokens) {
  std::vector<TokenId> out;
  for (int i = 0; i < tokens; ++i) {
    const auto id = sequence.sample();
    if (!id || !sequence.append_blocking({*id})) return {};
    out.push_back(*id);
  }
  return out;
}

std::vector<TokenId> list(std::span<const TokenId> ids) { return {ids.begin(), ids.end()}; }

std::int64_t free_pages(const Sequence& sequence) { return sequence.impl()->run.pool()->free_pages(); }

// Where the checksum of tokens, sampler and constraint ends.
std::size_t end_of_state(const Saved& saved) {
  std::uint64_t size = 0;
  std::memcpy(&size, saved.data() + 8, sizeof size);
  return 16 + static_cast<std::size_t>(size) + kDigest;
}

ErrorCode code(const Result<RestoredSequence>& result) { return result ? ErrorCode::internal : result.error().code(); }

// A prompt and some decoded tokens; saved with KV and without; each goes on for 64 tokens in a process of its own.
void check_elsewhere(const std::filesystem::path& path, const TempDir& dir, const std::vector<TokenId>& prompt) {
  const std::filesystem::path files[2] = {dir / "with_kv", dir / "without_kv"};
  int ready[2], answer[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(answer) == 0);
  const pid_t child = ::fork();                       // before this process has any thread
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(ready[1]);
    ::close(answer[0]);
    char go = 0;
    int failed = 1;
    if (::read(ready[0], &go, 1) == 1) {
      Runtime runtime;
      failed = 0;
      for (const auto& file : files) {
        const auto engine = Engine::load_blocking(runtime, path);
        const auto bytes = read_file(file);
        std::vector<TokenId> ids;
        if (engine) {
          if (auto restored = (*engine)->restore_sequence(std::as_bytes(std::span(bytes)))) ids = next(*restored, 64);
        }
        ids.resize(64, -1);
        if (::write(answer[1], ids.data(), 64 * sizeof(TokenId)) != static_cast<ssize_t>(64 * sizeof(TokenId))) failed = 1;
      }
    }
    ::_exit(failed);
  }
  ::close(ready[0]);
  ::close(answer[1]);
  {
    Runtime runtime;
    const auto engine = load(runtime, path);
    auto trunk = *engine->new_sequence();
    trunk.set_sampling(drawn(11));
    REQUIRE(trunk.append_blocking(prompt));
    REQUIRE(next(trunk, 40).size() == 40);            // KV of decode steps, which the other process has to make by prefill
    const KeepKv policies[2] = {KeepKv::always, KeepKv::never};
    for (int i = 0; i < 2; ++i) {
      const auto saved = trunk.save({policies[i]});
      REQUIRE(saved);
      write_file(files[i], std::string_view(reinterpret_cast<const char*>(saved->data()), saved->size()));
    }
    CHECK(std::filesystem::file_size(files[1]) < std::filesystem::file_size(files[0]) / 8);
    REQUIRE(::write(ready[1], "g", 1) == 1);
    const auto expected = next(trunk, 64);
    REQUIRE(expected.size() == 64);
    for (int i = 0; i < 2; ++i) {
      std::vector<TokenId> elsewhere(64, -2);
      std::size_t got = 0;
      while (got < 64 * sizeof(TokenId)) {
        const auto n = ::read(answer[0], reinterpret_cast<char*>(elsewhere.data()) + got, 64 * sizeof(TokenId) - got);
        if (n <= 0) break;
        got += static_cast<std::size_t>(n);
      }
      INFO((i == 0 ? "with KV" : "without KV"));
      CHECK(elsewhere == expected);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  ::close(ready[1]);
  ::close(answer[0]);
}

}  // namespace

TEST_CASE("model state: saved with KV and without, a sequence goes on in another process with the same tokens", "[model_state]") {
  TempDir dir;
  check_elsewhere(tiny(dir), dir, {3, 17, 40, 9, 77, 5, 61});
  check_elsewhere(tiny(dir, "gemma3-window-8"), dir, {3, 17, 40, 9, 77, 5, 61});
  if (const auto path = model("SmolLM2-135M-Instruct-Q4_1.gguf")) check_elsewhere(*path, dir, {6403, 5345, 253, 655, 28, 281, 253, 1165, 8188});
}

TEST_CASE("model state: automatic keeps KV where prefill is slower than the disk", "[model_state]") {
  TempDir dir;
  const auto path = tiny(dir);
  Runtime runtime;
  for (const bool fast_disk : {true, false}) {
    EngineOptions options;
    options.disk_bytes_per_s = fast_disk ? 1e15 : 1;
    const auto engine = load(runtime, path, options);
    auto sequence = *engine->new_sequence();
    REQUIRE(sequence.append_blocking(some_ids(64)));
    const auto with = *sequence.save({KeepKv::always}), without = *sequence.save({KeepKv::never});
    const auto chosen = *sequence.save_state();
    CHECK(chosen == (fast_disk ? with : without));
    CHECK(sequence.state_kind() == "sequence");
    // Nothing is known of this engine's prefill yet.
    const auto fresh = load(runtime, path, options);
    const auto restored = fresh->restore_sequence(with);
    REQUIRE(restored);
    CHECK(*restored->save_state() == with);
  }
  EngineOptions wrong;
  wrong.disk_bytes_per_s = 0;
  CHECK(Engine::load_blocking(runtime, path, wrong).error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("model state: decode steps are not taken for prefill", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto engine = load(runtime, tiny(dir));
  auto sequence = *engine->new_sequence();
  REQUIRE(sequence.append_blocking(some_ids(64)));
  const double per_token = sequence.cost().recompute_ms / 64;
  CHECK(per_token > 0);
  REQUIRE(next(sequence, 16).size() == 16);
  CHECK(sequence.cost().recompute_ms / 80 == Approx(per_token));
}

TEST_CASE("model state: a damaged KV part is computed again, damaged tokens are refused", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto engine = load(runtime, tiny(dir));
  auto sequence = *engine->new_sequence();
  sequence.set_sampling(drawn(5));
  REQUIRE(sequence.append_blocking({3, 17, 40, 9}));
  REQUIRE(sequence.sample());
  const auto saved = *sequence.save(), without = *sequence.save({KeepKv::never});
  const auto logits = *sequence.logits();
  const auto ids = list(sequence.tokens());
  const auto expected = next(sequence, 8);
  const std::size_t state = end_of_state(saved);
  REQUIRE(state == without.size());
  REQUIRE(state < saved.size());
  const auto whole = engine->restore_or_recompute(saved);
  REQUIRE(whole);
  CHECK(whole->note.empty());
  REQUIRE(engine->restore_or_recompute(without));
  CHECK(engine->restore_or_recompute(without)->note.empty());
  std::size_t refused = 0, again = 0;
  const auto check = [&](std::span<const std::byte> damaged, bool tokens_intact) {
    CHECK(engine->restore_sequence(damaged).error().code() == ErrorCode::bad_input);
    auto restored = engine->restore_or_recompute(damaged);
    if (!tokens_intact) {
      REQUIRE(code(restored) == ErrorCode::bad_input);
      ++refused;
      return;
    }
    REQUIRE(restored);
    REQUIRE(restored->note.find("computed again") != std::string::npos);
    REQUIRE(list(restored->sequence.tokens()) == ids);
    REQUIRE(*restored->sequence.logits() == logits);
    if (again++ % 64 == 0) CHECK(next(restored->sequence, 8) == expected);
  };
  for (std::size_t i = 0; i < saved.size(); ++i) {
    auto damaged = saved;
    damaged[i] ^= static_cast<std::byte>(1 << (i % 8));
    check(damaged, i >= state);
  }
  for (std::size_t size = 0; size < saved.size(); ++size) check(std::span(saved).first(size), size >= state);
  auto longer = without;
  longer.resize(longer.size() + 40);
  check(longer, true);
  CHECK(refused == 2 * state);
  CHECK(again == 2 * (saved.size() - state) + 1);
}

TEST_CASE("model state: another KV format and another model with the same tokenizer compute again; another tokenizer refuses", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto path = tiny(dir);
  const auto engine = load(runtime, path);
  auto sequence = *engine->new_sequence();
  sequence.set_sampling(drawn(9));
  REQUIRE(sequence.append_blocking(some_ids(50)));
  REQUIRE(sequence.sample());
  const auto ids = list(sequence.tokens());
  // What another engine makes of these tokens with this sampler.
  const auto from_tokens = [&](Engine& other) {
    auto fresh = *other.new_sequence();
    fresh.set_sampling(drawn(9));
    REQUIRE(fresh.append_blocking(ids));
    REQUIRE(fresh.sample());
    return next(fresh, 16);
  };
  EngineOptions f32;
  f32.precision = Precision::f32;
  const auto precise = load(runtime, path, f32), other = load(runtime, tiny(dir, "gemma3-window-8"));
  for (const auto keep : {KeepKv::always, KeepKv::never}) {
    const auto saved = *sequence.save({keep});
    for (const auto& [target, word] : {std::pair{precise, "another KV format"}, std::pair{other, "another model"}}) {
      CHECK(target->restore_sequence(saved).error().code() == ErrorCode::conflict);
      auto restored = target->restore_or_recompute(saved);
      REQUIRE(restored);
      CHECK(restored->note.find(word) != std::string::npos);
      CHECK(list(restored->sequence.tokens()) == ids);
      CHECK(next(restored->sequence, 16) == from_tokens(*target));
    }
  }
  // The same weights, but y and z have changed places in the vocabulary.
  auto bytes = read_file(path);
  const std::string one("\x01\0\0\0\0\0\0\0", 8);
  const auto at = bytes.find(one + "y" + one + "z");
  REQUIRE(at != std::string::npos);
  std::swap(bytes[at + 8], bytes[at + 17]);
  write_file(dir / "swapped.gguf", bytes);
  const auto swapped = load(runtime, dir / "swapped.gguf");
  const auto refused = swapped->restore_or_recompute(*sequence.save());
  CHECK(code(refused) == ErrorCode::conflict);
  CHECK(refused.error().message().find("tokenizer") != std::string::npos);

  EngineOptions narrow;
  narrow.context_tokens = 32;
  CHECK(code(load(runtime, path, narrow)->restore_or_recompute(*sequence.save())) == ErrorCode::limit_exceeded);
}

TEST_CASE("model state: a save of version 2 is still read", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto text = read_file(source_dir() / "tests/golden/sequence_v2.bin");
  const auto bytes = std::as_bytes(std::span(text));
  const std::vector<TokenId> ids = {3, 17, 40, 9, 77, 5, 61, 51, 10, 105}, after = {105, 105, 105, 105, 125, 19, 81, 15};
  const auto engine = load(runtime, tiny(dir));
  auto restored = engine->restore_sequence(bytes);
  REQUIRE(restored);
  CHECK(list(restored->tokens()) == ids);
  CHECK(next(*restored, 8) == after);
  EngineOptions f32;
  f32.precision = Precision::f32;
  const auto precise = load(runtime, tiny(dir), f32);
  CHECK(precise->restore_sequence(bytes).error().code() == ErrorCode::conflict);
  const auto again = precise->restore_or_recompute(bytes);
  REQUIRE(again);
  CHECK(list(again->sequence.tokens()) == ids);
  CHECK_FALSE(again->note.empty());
  CHECK(code(load(runtime, tiny(dir, "gemma3-window-8"))->restore_or_recompute(bytes)) == ErrorCode::conflict);
  for (std::size_t i = 0; i < text.size(); i += 7) {
    auto damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 16);
    REQUIRE(code(engine->restore_or_recompute(std::as_bytes(std::span(damaged)))) == ErrorCode::bad_input);
  }
}

TEST_CASE("model state: forks share a prefix's pages; dropping them gives all back", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  EngineOptions options;
  options.context_tokens = 1024;
  const auto engine = load(runtime, tiny(dir), options);
  auto trunk = *engine->new_sequence();
  const auto start = free_pages(trunk);
  // 16 pages of 32 tokens, the last one full; and one in which 20 are used, which each branch has to copy before it writes.
  for (const std::size_t prefix : {512, 500}) {
    REQUIRE(trunk.append_blocking(some_ids(prefix)));
    CHECK(free_pages(trunk) == start - 16);
    {
      std::vector<std::shared_ptr<ModelState>> branches;
      for (int i = 0; i < 8; ++i) branches.push_back(*trunk.fork_state());
      CHECK(free_pages(trunk) == start - 16);
      CHECK(trunk.cost().bytes_exclusive == 0);
      for (auto& branch : branches) REQUIRE(dynamic_cast<Sequence&>(*branch).append_blocking(some_ids(5)));
      CHECK(free_pages(trunk) == start - 16 - 8);
      const auto& branch = dynamic_cast<const Sequence&>(*branches[0]);
      CHECK(branch.cost().bytes_exclusive * branch.impl()->run.pages.size() == branch.cost().bytes_held);
      branches.resize(1);                             // the join takes one
      CHECK(free_pages(trunk) == start - 16 - 1);
      trunk = std::move(dynamic_cast<Sequence&>(*branches[0]));
      CHECK(free_pages(trunk) == start - (prefix == 512 ? 17 : 16));
    }
    trunk.release();
    CHECK(free_pages(trunk) == start);
  }
}

namespace {

std::vector<std::vector<TokenId>> eight_branches(Engine& engine, const Sequence& trunk, bool at_once) {
  std::vector<Sequence> branches;
  for (std::uint64_t i = 0; i < 8; ++i) {
    branches.push_back(trunk.fork());
    branches.back().set_sampling(drawn(i));
    REQUIRE(branches.back().append_blocking({static_cast<TokenId>(20 + i)}));
  }
  std::vector<std::vector<TokenId>> out(8);
  std::vector<std::optional<EventStream>> streams(8);
  const auto begin = [&](std::size_t i) {
    GenerateRequest request;
    request.max_tokens = 24;
    request.ignore_eos = true;
    auto stream = engine.continue_sequence(branches[i], std::move(request));
    REQUIRE(stream);
    streams[i] = std::move(*stream);
  };
  const auto end = [&](std::size_t i) {
    const auto result = gather_blocking(std::move(*streams[i]));
    REQUIRE(result);
    CHECK(result->token_ids.size() == 24);
    out[i] = list(branches[i].tokens());
    CHECK(out[i].size() == trunk.tokens().size() + 25);
  };
  for (std::size_t i = 0; i < 8; ++i) {
    begin(i);
    if (!at_once) end(i);
  }
  for (std::size_t i = 0; at_once && i < 8; ++i) end(i);
  return out;
}

}  // namespace

TEST_CASE("model state: eight branches generating at once give what each gives alone", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  std::vector<std::filesystem::path> paths{tiny(dir)};
  if (const auto path = model("SmolLM2-135M-Instruct-Q4_1.gguf")) paths.push_back(*path);
  for (const auto& path : paths) {
    EngineOptions options;
    options.context_tokens = 512;
    const auto engine = load(runtime, path, options);
    auto trunk = *engine->new_sequence();
    REQUIRE(trunk.append_blocking(some_ids(70)));
    const auto start = free_pages(trunk);
    const auto alone = eight_branches(*engine, trunk, false);
    CHECK(eight_branches(*engine, trunk, true) == alone);
    CHECK(alone[0] != alone[1]);
    CHECK(free_pages(trunk) == start);
  }
}

namespace {

// Only even tokens; counts them.
class Even final : public TokenConstraint {
 public:
  explicit Even(TokenId seen = 0) : seen_(seen) {}
  Status mask(std::vector<bool>& allowed) override {
    for (std::size_t id = 0; id < allowed.size(); id += 2) allowed[id] = true;
    return {};
  }
  Status advance(TokenId) override {
    ++seen_;
    return {};
  }
  std::unique_ptr<TokenConstraint> fork() const override { return std::make_unique<Even>(seen_); }
  std::vector<std::byte> save() const override { return {static_cast<std::byte>(seen_)}; }

 private:
  TokenId seen_;
};

}  // namespace

TEST_CASE("model state: a continued sequence keeps its constraint, and what it had when nothing came of the request", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  EngineOptions options;
  options.context_tokens = 2048;
  options.max_batch_tokens = 16;
  const auto engine = load(runtime, tiny(dir), options);
  auto sequence = *engine->new_sequence();
  const auto constraint = std::make_shared<Even>();
  sequence.set_sampling(drawn(1), constraint);
  REQUIRE(sequence.append_blocking({3, 5, 7}));
  GenerateRequest wrong;
  wrong.max_tokens = 0;
  CHECK(engine->continue_sequence(sequence, std::move(wrong)).error().code() == ErrorCode::invalid_argument);
  CHECK(list(sequence.tokens()) == std::vector<TokenId>{3, 5, 7});

  const auto before = *sequence.save();
  for (const bool at_once : {true, false}) {          // cancelled before its first step, and while its prompt is being read
    CancellationSource source;
    if (at_once) source.cancel();
    GenerateRequest request;
    request.prompt = some_ids(2000);
    request.cancellation = source.token();
    auto stream = engine->continue_sequence(sequence, std::move(request));
    REQUIRE(stream);
    source.cancel();
    const auto result = gather_blocking(std::move(*stream));
    REQUIRE(result);
    CHECK(result->finish_reason == FinishReason::cancelled);
    CHECK(list(sequence.tokens()) == std::vector<TokenId>{3, 5, 7});
    CHECK(*sequence.save() == before);
  }

  GenerateRequest request;
  request.max_tokens = 10;
  request.ignore_eos = true;
  const auto result = gather_blocking(*engine->continue_sequence(sequence, std::move(request)));
  REQUIRE(result);
  for (const TokenId id : result->token_ids) CHECK(id % 2 == 0);
  CHECK(constraint->save()[0] == std::byte{10});
  CHECK(sequence.tokens().size() == 13);
}

TEST_CASE("model state: engine, sequence and stream may be dropped in any order while a request runs", "[model_state]") {
  TempDir dir;
  const auto path = tiny(dir);
  Runtime runtime;
  for (int round = 0; round < 30; ++round) {
    auto engine = load(runtime, path);
    std::optional<Sequence> sequence(*engine->new_sequence());
    REQUIRE(sequence->append_blocking({3, 5, 7}));
    GenerateRequest request;
    request.max_tokens = 100;
    request.ignore_eos = true;
    auto made = engine->continue_sequence(*sequence, std::move(request));
    REQUIRE(made);
    std::optional<EventStream> stream(std::move(*made));
    for (int i = 0; i < round % 4; ++i) REQUIRE(stream->next_blocking());
    for (int i = 0; i < 3; ++i) {
      switch ((round + i) % 3) {
        case 0: engine.reset(); break;
        case 1: sequence.reset(); break;
        default: stream.reset();
      }
    }
  }
}
