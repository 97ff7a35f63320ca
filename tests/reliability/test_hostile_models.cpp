// Damaged model files: every truncation and every flipped bit of generated headers, and every structural field of real ones, set to what
// an attacker would set. A typed error or a model that runs; no crash, no hang, no memory beyond the file's size and 64 MiB.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "corvid/embed/text_embedder.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/tensor/model_file.hpp"
#include "corvid/text/tokenizer.hpp"
#include "reliability/isolated.hpp"
#include "reliability/place.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kExtra = std::uint64_t{64} << 20;

std::string refusal(const Error& error) {
  const auto code = error.code();
  // Room for a context's KV pages is reserved as addresses, and becomes memory page by page as the context fills.
  if (code == ErrorCode::out_of_memory && error.message().find("address space") != std::string::npos) return {};
  if (code == ErrorCode::out_of_memory) return "it wanted more memory than it may: " + error.describe();
  if (code == ErrorCode::internal) return "an internal error: " + error.describe();
  if (error.message().size() < 8) return "an error without a message";
  return {};
}

// Loads, and runs a forward pass where it loads.
CaseResult try_llm(Runtime& runtime, const fs::path& path, bool forward = true) {
  EngineOptions options;
  options.precision = Precision::f32;
  const auto engine = Engine::load_blocking(runtime, path, options);
  if (!engine) return {false, refusal(engine.error())};
  if (!forward) return {true, {}};
  const auto scored = runtime.wait((*engine)->score({1, 5, 9, 7}, 1));
  if (!scored) return {true, refusal(scored.error())};
  return {true, {}};
}

CaseResult try_embedder(Runtime& runtime, const fs::path& folder) {
  const auto embedder = TextEmbedder::load(runtime, folder);
  if (!embedder) return {false, refusal(embedder.error())};
  const std::vector<std::string_view> texts{"hello", ""};
  const auto vectors = (*embedder)->embed(texts);
  if (!vectors) return {true, refusal(vectors.error())};
  return {true, {}};
}

// One file of a model: its healthy bytes, and how much of it is header.
struct Victim {
  std::string name;
  fs::path load;        // what is loaded
  fs::path file;        // what is damaged
  std::string bytes;
  std::size_t header = 0;
  bool embedder = false;
  bool header_has_values = false;
};

std::uint64_t u64_at(std::string_view bytes, std::size_t at) {
  std::uint64_t v;
  std::memcpy(&v, bytes.data() + at, sizeof v);
  return v;
}

// Every truncation of the header, then every flipped bit of it. In steps of `step` cases.
void flips_and_truncations(const Victim& victim, std::int64_t step) {
  const auto header = static_cast<std::int64_t>(victim.header);
  const std::int64_t all = header + header * 8;
  const auto totals = run_isolated(victim.name, (all + step - 1) / step, victim.bytes.size() + kExtra, [&](Runtime& runtime, std::int64_t at) {
    // A step that is not a divisor of 8 meets every bit position.
    const std::int64_t n = at * step;
    if (n < header) {
      write_file(victim.file, std::string_view(victim.bytes).substr(0, static_cast<std::size_t>(n)));
    } else {
      std::string damaged = victim.bytes;
      const std::int64_t bit = n - header;
      damaged[static_cast<std::size_t>(bit / 8)] = static_cast<char>(damaged[static_cast<std::size_t>(bit / 8)] ^ (1 << (bit % 8)));
      write_file(victim.file, damaged);
    }
    auto result = victim.embedder ? try_embedder(runtime, victim.load) : try_llm(runtime, victim.load);
    if (!result.wrong.empty()) result.wrong = (n < header ? "cut to " + std::to_string(n) + " bytes: " : "bit " + std::to_string((n - header) % 8) + " of byte " + std::to_string((n - header) / 8) + ": ") + result.wrong;
    else if (n < header && result.accepted) result.wrong = "a file cut to " + std::to_string(n) + " bytes was accepted";
    return result;
  });
  write_file(victim.file, victim.bytes);
  if (victim.header_has_values) CHECK(totals.accepted > 0);   // a flip in a value's low bits may be harmless; JSON's names and offsets are all needed
  CHECK(totals.accepted < totals.cases);
  // Nothing was left behind: the healthy file still loads.
  Runtime runtime;
  const auto healthy = victim.embedder ? try_embedder(runtime, victim.load) : try_llm(runtime, victim.load);
  CHECK(healthy.accepted);
}

// Positions of a GGUF header's structural fields: counts, lengths, types, dimensions, offsets; those inside string arrays apart.
struct Field { std::size_t at; std::size_t width; };
struct Fields { std::vector<Field> structure, string_lengths; std::size_t end = 0; };

Fields gguf_fields(std::string_view bytes) {
  Fields out;
  std::size_t at = 0;
  const auto field = [&](std::size_t width) {
    out.structure.push_back({at, width});
    std::uint64_t v = 0;
    std::memcpy(&v, bytes.data() + at, width);
    at += width;
    return v;
  };
  static constexpr std::size_t kWidths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  at = 4;
  field(4);
  const auto tensors = field(8), entries = field(8);
  for (std::uint64_t i = 0; i < entries; ++i) {
    at += field(8);
    const auto type = field(4);
    if (type == 8) {
      at += field(8);
    } else if (type == 9) {
      const auto element = field(4), count = field(8);
      if (element == 8) {
        for (std::uint64_t j = 0; j < count; ++j) {
          out.string_lengths.push_back({at, 8});
          at += 8 + u64_at(bytes, at);
        }
      } else {
        at += count * kWidths[element];
      }
    } else {
      field(kWidths[type]);
    }
  }
  for (std::uint64_t i = 0; i < tensors; ++i) {
    at += field(8);
    const auto rank = field(4);
    for (std::uint64_t d = 0; d < rank; ++d) field(8);
    field(4);
    field(8);
  }
  out.end = at;
  return out;
}

// 0, 1, the largest, the sign bit, one less, one more.
std::uint64_t hostile(std::uint64_t value, std::size_t width, int which) {
  const std::uint64_t most = width == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * width)) - 1;
  switch (which) {
    case 0: return 0;
    case 1: return 1;
    case 2: return most;
    case 3: return (most >> 1) + 1;
    case 4: return (value - 1) & most;
    default: return (value + 1) & most;
  }
}

// A copy of a real model in memory, damaged in place and put right again.
class Patched {
 public:
  explicit Patched(const fs::path& from) {
    const auto root = fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
    path_ = root / ("corvid-hostile-" + std::to_string(::getpid()) + ".gguf");
    fs::copy_file(from, path_, fs::copy_options::overwrite_existing);
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(fd_ >= 0);
  }
  ~Patched() {
    ::close(fd_);
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  Patched(const Patched&) = delete;
  Patched& operator=(const Patched&) = delete;
  const fs::path& path() const { return path_; }
  void put(std::size_t at, const void* bytes, std::size_t n) const {
    if (::pwrite(fd_, bytes, n, static_cast<off_t>(at)) != static_cast<ssize_t>(n)) throw std::runtime_error("cannot write the copy");
  }

 private:
  fs::path path_;
  int fd_ = -1;
};

// Header, configuration and tokenizer: all that a file's header decides before weights are read.
CaseResult try_header(Runtime& runtime, const fs::path& path, bool forward) {
  if (forward) return try_llm(runtime, path);
  const auto file = ModelFile::open(path);
  if (!file) return {false, refusal(file.error())};
  const auto tokenizer = Tokenizer::from_model(**file);
  if (!tokenizer) return {false, refusal(tokenizer.error())};
  const auto encoded = (*tokenizer)->encode("A text, with numbers 1234 and signs <|im_start|>.");
  if (!encoded) return {true, refusal(encoded.error())};
  return {true, {}};
}

void real_model(const char* name, std::size_t flips) {
  const auto path = model(name);
  if (!path) return;
  const std::string bytes = [&] {
    std::string head(std::size_t{16} << 20, '\0');
    const int fd = ::open(path->c_str(), O_RDONLY | O_CLOEXEC);
    const auto got = ::read(fd, head.data(), head.size());
    ::close(fd);
    head.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return head;
  }();
  const Fields fields = gguf_fields(bytes);
  const Patched copy(*path);
  const auto size = fs::file_size(*path);
  std::mt19937_64 random(5);
  std::vector<Field> targets = fields.structure;
  for (int i = 0; i < 1000 && !fields.string_lengths.empty(); ++i) targets.push_back(fields.string_lengths[random() % fields.string_lengths.size()]);
  const std::int64_t sample = full_matrix() ? 1 : 40;
  const auto [index, of] = shard();
  const auto first = index * sample, every = of * sample;
  const auto cases = (static_cast<std::int64_t>(targets.size() * 6 + flips) - first + every - 1) / every;
  std::int64_t forwards = 0;
  std::vector<std::pair<std::size_t, int>> bits;
  for (std::size_t i = 0; i < flips; ++i) bits.emplace_back(random() % fields.end, static_cast<int>(random() % 9));   // 8: cut there
  run_isolated(std::string(name) + ", structural fields, flips and cuts", cases, size + kExtra, [&](Runtime& runtime, std::int64_t at) {
    const auto n = static_cast<std::size_t>(first + at * every);
    std::size_t where = 0, width = 0;
    std::string damage(8, '\0');
    if (n < targets.size() * 6) {
      where = targets[n / 6].at;
      width = targets[n / 6].width;
      std::uint64_t value = 0;
      std::memcpy(&value, bytes.data() + where, width);
      value = hostile(value, width, static_cast<int>(n % 6));
      std::memcpy(damage.data(), &value, width);
    } else {
      const auto [byte, bit] = bits[n - targets.size() * 6];
      where = byte;
      if (bit == 8) {
        const auto cut = copy.path().string() + ".cut";
        write_file(cut, std::string_view(bytes).substr(0, byte));
        auto result = try_header(runtime, cut, false);
        fs::remove(cut);
        return result;
      }
      width = 1;
      damage[0] = static_cast<char>(bytes[byte] ^ (1 << bit));
    }
    copy.put(where, damage.data(), width);
    auto result = try_header(runtime, copy.path(), false);
    if (result.accepted && result.wrong.empty() && forwards < (full_matrix() ? (200 + of - 1) / of : 3) && at % 7 == 0) {
      ++forwards;
      result = try_header(runtime, copy.path(), true);
    }
    copy.put(where, bytes.data() + where, width);
    if (!result.wrong.empty()) result.wrong = std::to_string(width) + " bytes at " + std::to_string(where) + ": " + result.wrong;
    return result;
  });
}

}  // namespace

TEST_CASE("hostile models: every cut and flipped bit of generated headers", "[hostile]") {
  const TinyModels tiny;
  const TempDir dir;
  const std::int64_t step = full_matrix() ? 1 : 97;
  for (const char* name : {"llama-tied", "gemma3-window-8"}) {
    const auto& decoder = tiny.decoder(name);
    Victim gguf{std::string(name) + ", GGUF", dir / "model.gguf", dir / "model.gguf", tiny.gguf(decoder).bytes(), 0, false, true};
    gguf.header = gguf_fields(gguf.bytes).end;
    CHECK(gguf.header <= 16384);
    write_file(gguf.file, gguf.bytes);
    flips_and_truncations(gguf, step);
    const auto folder = dir / (std::string(name) + "-hub");
    fs::create_directories(folder);
    tiny.write_hub(decoder, decoder["configs"][0], folder);
    Victim hub{std::string(name) + ", safetensors", folder, folder / "model.safetensors", read_file(folder / "model.safetensors"), 0, false, false};
    hub.header = 8 + static_cast<std::size_t>(u64_at(hub.bytes, 0));
    CHECK(hub.header <= 16384);
    flips_and_truncations(hub, step);
  }
  const auto folder = dir / "encoder";
  tiny.write_encoder(tiny.encoders()[0], folder);
  Victim bert{"bert, safetensors", folder, folder / "model.safetensors", read_file(folder / "model.safetensors"), 0, true, false};
  bert.header = 8 + static_cast<std::size_t>(u64_at(bert.bytes, 0));
  CHECK(bert.header <= 16384);
  flips_and_truncations(bert, step);
}

TEST_CASE("hostile models: the structural fields of real headers", "[hostile]") {
  real_model("SmolLM2-135M-Instruct-Q4_1.gguf", 20000);
}
TEST_CASE("hostile models: the structural fields of real headers of other families", "[hostile]") {
  if (!full_matrix()) return;   // the largest headers: a fifth of a second a case
  real_model("gemma-3-270m-Q4_K_M.gguf", 20000);
  real_model("Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf", 20000);
}
