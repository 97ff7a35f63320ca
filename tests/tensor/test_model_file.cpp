#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "corvid/tensor/dequantise.hpp"
#include "corvid/tensor/device.hpp"
#include "corvid/tensor/model_file.hpp"
#include "support/catch.hpp"
#include "support/gguf_writer.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;
namespace fs = std::filesystem;

namespace {

template <class T>
T take(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

std::string_view take_bytes(std::string_view& bytes, std::size_t count) {
  const auto taken = bytes.substr(0, count);
  bytes.remove_prefix(count);
  return taken;
}

struct Malformed {
  std::string name;
  std::string bytes;
  std::uint64_t offset;
  ErrorCode code = ErrorCode::bad_input;
};

void expect_rejected(const TempDir& dir, const Malformed& malformed, const char* extension) {
  INFO(malformed.name);
  const fs::path path = dir / ("case" + std::string(extension));
  write_file(path, malformed.bytes);
  const auto file = ModelFile::open(path);
  REQUIRE_FALSE(file);
  INFO(file.error().describe());
  CHECK(file.error().code() == malformed.code);
  REQUIRE(file.error().offset());
  CHECK(*file.error().offset() == malformed.offset);
  CHECK(file.error().file() == path.string());
}

/// Header of a GGUF file without entries, with the given counts.
ByteWriter header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
  ByteWriter w;
  w.raw("GGUF").put(version).put(tensors).put(keys);
  return w;
}

/// A file of one table entry as given, padded so that counts pass, with 4096 data bytes.
std::string with_entry(const ByteWriter& entry, std::uint64_t tensors = 1) {
  ByteWriter w = header(tensors, 0);
  w.raw(entry.bytes());
  return w.raw(std::string((32 - w.size() % 32) % 32, '\0')).raw(std::string(4096, '\0')).bytes();
}

ByteWriter entry(std::string_view name, const std::vector<std::int64_t>& file_shape, std::uint32_t type, std::uint64_t offset) {
  ByteWriter w;
  w.text(name).put(static_cast<std::uint32_t>(file_shape.size()));
  for (const auto extent : file_shape) w.put(extent);
  return w.put(type).put(offset);
}

std::string with_key(std::string_view key, const ByteWriter& type_and_value, std::uint64_t keys = 1) {
  return header(0, keys).text(key).raw(type_and_value.bytes()).raw(std::string(64, '\0')).bytes();
}

}  // namespace

TEST_CASE("block formats read as the reference package reads them") {
  const std::string golden = read_file(source_dir() / "tests" / "golden" / "block_formats.bin");
  std::string_view rest = golden;
  int formats = 0;
  while (!rest.empty()) {
    const std::string name(take_bytes(rest, take<std::uint32_t>(rest)));
    const auto body = take_bytes(rest, take<std::uint32_t>(rest));
    const auto count = take<std::uint32_t>(rest);
    const auto wanted = take_bytes(rest, count * sizeof(float));
    INFO(name);
    const auto dtype = dtype_from_name(name);
    REQUIRE(dtype);
    std::vector<float> got(count);
    REQUIRE(dequantise(*dtype, std::as_bytes(std::span(body.data(), body.size())), got));
    float worst = 0;
    for (std::size_t i = 0; i < count; ++i) {
      float want;
      std::memcpy(&want, wanted.data() + i * sizeof want, sizeof want);
      worst = std::max(worst, std::abs(got[i] - want) / std::max(1e-3f, std::abs(want)));
    }
    CHECK(worst < 1e-4f);  // products are taken in another order
    ++formats;
  }
  CHECK(formats == 13);
}

TEST_CASE("dtypes, halves and devices") {
  CHECK(bytes_of(DType::q4_k, 512).value() == 288);
  CHECK(bytes_of(DType::q8_0, 31).error().code() == ErrorCode::invalid_argument);
  CHECK(bytes_of(DType::f32, UINT64_MAX / 2).error().code() == ErrorCode::limit_exceeded);
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    if (std::isnan(value)) continue;
    if (float_to_half(value) != half) FAIL("half " << bits);
    const float wide = bfloat16_to_float(half);
    if (!std::isnan(wide) && float_to_bfloat16(wide) != half) FAIL("bfloat16 " << bits);
  }
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(65519.0f) == 0x7bff);
  CHECK(float_to_half(0x1p-25f) == 0);            // a tie, to even
  CHECK(float_to_half(1.0f + 0x1p-11f) == 0x3c00);  // likewise
  CHECK(parse_device("cuda:3").value().index == 3);
  CHECK(to_string(parse_device("cuda").value()) == "cuda:0");
  CHECK_FALSE(parse_device("cuda:"));
  CHECK_FALSE(parse_device("tpu"));
}

TEST_CASE("a GGUF file opens with its metadata and tensors") {
  TempDir dir;
  std::string data(2 * 34, '\0');
  write_file(dir / "m.gguf", GgufWriter().string("general.architecture", "llama").u32("n", 7).f32("eps", 0.5f).boolean("b", true)
                                 .strings("tokens", {"a", "", "bc"}).floats("scores", {1, 2}).integers("types", {-1, 3})
                                 .tensor("w", {2, 32}, 8, data).tensor("v", {3}, 0, std::string(12, '\1')).bytes());
  const auto file = ModelFile::open(dir / "m.gguf");
  REQUIRE(file);
  const Metadata& m = (*file)->metadata();
  CHECK(m.string("general.architecture").value().value() == "llama");
  CHECK(m.unsigned_integer("n").value().value() == 7);
  CHECK(m.real("eps").value().value() == 0.5);
  CHECK(m.boolean("b").value().value());
  CHECK(m.strings("tokens").value().value() == std::vector<std::string_view>{"a", "", "bc"});
  CHECK(m.floats("scores").value().value() == std::vector<float>{1, 2});
  CHECK(m.integers("types").value().value() == std::vector<std::int64_t>{-1, 3});
  CHECK_FALSE(m.string("absent").value());
  CHECK(m.string("n").error().key() == "n");
  CHECK(m.require_string("absent").error().code() == ErrorCode::bad_input);
  const auto* w = (*file)->find("w");
  REQUIRE(w);
  CHECK(w->shape == std::vector<std::int64_t>{2, 32});
  CHECK(w->bytes.size() == 68);
  CHECK((*file)->require("absent").error().key() == "absent");
  CHECK((*file)->total_tensor_bytes() == 80);
  CHECK((*file)->identity().size() == 64);
  CHECK((*file)->folder() == dir.path());
}

TEST_CASE("malformed GGUF files are typed errors with the byte offset") {
  TempDir dir;
  const std::uint64_t table = 24;  // of the first entry
  ByteWriter f32_type;
  std::vector<Malformed> cases = {
      {"empty file", "", 0},
      {"bad magic", "GGML" + std::string(40, '\0'), 0},
      {"version 0", header(0, 0, 0).bytes(), 4},
      {"version 9", header(0, 0, 9).bytes(), 4},
      {"version 1", header(0, 0, 1).bytes(), 4, ErrorCode::unsupported},
      {"big-endian", header(0, 0, 0x03000000u).bytes(), 4, ErrorCode::unsupported},
      {"cut header", header(0, 0).bytes().substr(0, 12), 8},
      {"too many keys", header(0, UINT64_MAX).bytes(), 16},
      {"too many tensors", header(UINT64_MAX / 2, 0).bytes(), 8},
      {"key length", header(0, 1).put<std::uint64_t>(UINT64_MAX).raw(std::string(32, '\0')).bytes(), 24},
      {"empty key", with_key("", ByteWriter().put<std::uint32_t>(4).put<std::uint32_t>(1)), 24},
      {"a key longer than the format's", GgufWriter().u32(std::string(70'000, 'k'), 1).bytes(), 24},
      {"duplicate key", GgufWriter().u32("k", 1).u32("k", 2).bytes(), 24 + 17},
      {"unknown value type", with_key("k", ByteWriter().put<std::uint32_t>(13)), 33},
      {"string length", with_key("k", ByteWriter().put<std::uint32_t>(8).put<std::uint64_t>(1u << 30)), 37},
      {"array count", with_key("k", ByteWriter().put<std::uint32_t>(9).put<std::uint32_t>(4).put<std::uint64_t>(UINT64_MAX / 4)), 41},
      {"array type", with_key("k", ByteWriter().put<std::uint32_t>(9).put<std::uint32_t>(99).put<std::uint64_t>(1)), 37},
      {"nested array", with_key("k", ByteWriter().put<std::uint32_t>(9).put<std::uint32_t>(9).put<std::uint64_t>(1)), 37},
      {"string in array", with_key("k", ByteWriter().put<std::uint32_t>(9).put<std::uint32_t>(8).put<std::uint64_t>(1).put<std::uint64_t>(1u << 30)), 49},
      {"boolean 2", with_key("k", ByteWriter().put<std::uint32_t>(7).put<std::uint8_t>(2)), 37},
      {"alignment 0", GgufWriter().u32("general.alignment", 0).bytes(), 53},
      {"alignment 48", GgufWriter().u32("general.alignment", 48).bytes(), 53},
      {"alignment 2 MiB", GgufWriter().u32("general.alignment", 2u << 20).bytes(), 53},
      {"alignment of another type", GgufWriter().f32("general.alignment", 32).bytes(), 53},
      {"empty tensor name", with_entry(entry("", {4}, 0, 0)), table},
      {"tensor name of 64 bytes", with_entry(entry(std::string(64, 'n'), {4}, 0, 0)), table},
      {"five dimensions", with_entry(entry("w", {1, 1, 1, 1, 1}, 0, 0)), table + 9},
      {"negative extent", with_entry(entry("w", {4, -1}, 0, 0)), table + 13 + 8},
      {"zero extent", with_entry(entry("w", {0}, 0, 0)), table + 13},
      {"overflowing extents", with_entry(entry("w", {INT64_MAX, 2}, 0, 0)), table + 13 + 8},
      {"overflowing bytes", with_entry(entry("w", {INT64_MAX}, 0, 0)), table + 13},
      {"rows of part blocks", with_entry(entry("w", {33, 32}, 8, 0)), table + 13},
      {"unknown tensor type", with_entry(entry("w", {4}, 77, 0)), table + 21},
      {"unhandled tensor type", with_entry(entry("w", {256}, 16, 0)), table + 21, ErrorCode::unsupported},
      {"misaligned", with_entry(entry("w", {4}, 0, 4)), table + 25},
      {"past the end", with_entry(entry("w", {4}, 0, 4096)), table + 25},
      {"offset wraps", with_entry(entry("w", {4}, 0, UINT64_MAX - 31)), table + 25},
      {"duplicate tensor", with_entry(ByteWriter().raw(entry("w", {4}, 0, 0).bytes()).raw(entry("w", {4}, 0, 32).bytes()), 2), table + 33},
      {"overlap", with_entry(ByteWriter().raw(entry("a", {64}, 0, 0).bytes()).raw(entry("b", {64}, 0, 32).bytes()), 2), table + 33 + 25},
      {"split file", GgufWriter().u32("split.count", 2).bytes(), 24 + 8 + 11 + 4, ErrorCode::unsupported},
  };
  // "overflowing bytes": 63 bits of f32 elements are over 64 bits of bytes.
  for (const auto& malformed : cases) expect_rejected(dir, malformed, ".gguf");
}

TEST_CASE("a GGUF file cut anywhere is an error, never a crash") {
  TempDir dir;
  const std::string whole = GgufWriter().string("general.architecture", "llama").strings("tokens", {"a", "b"}).tensor("w", {2, 32}, 8, std::string(68, '\0')).bytes();
  for (std::size_t size = 0; size + 28 < whole.size(); ++size) {  // the last bytes are padding
    write_file(dir / "cut.gguf", std::string_view(whole).substr(0, size));
    INFO(size);
    const auto file = ModelFile::open(dir / "cut.gguf");
    REQUIRE_FALSE(file);
    CHECK(file.error().offset());
  }
}

TEST_CASE("malformed safetensors files are typed errors with the byte offset") {
  TempDir dir;
  const std::string four(16, '\0');
  auto one = [&](const std::string& fields, std::size_t data = 16) { return safetensors_bytes("{\"w\":{" + fields + "}}", std::string(data, '\0')); };
  const std::string good = R"("dtype":"F32","shape":[4],"data_offsets":[0,16])";
  std::vector<Malformed> cases = {
      {"too short", "abc", 0},
      {"header over 100 MB", ByteWriter().put<std::uint64_t>(100'000'001).raw("{}").bytes(), 0},
      {"header past the end", ByteWriter().put<std::uint64_t>(64).raw("{}").bytes(), 0},
      {"empty header", safetensors_bytes("", ""), 8},
      {"not an object", safetensors_bytes(" {}", ""), 8},
      {"duplicate tensor", safetensors_bytes("{\"w\":{" + good + "},\"w\":{" + good + "}}", four), 0},
      {"invalid UTF-8", safetensors_bytes("{\"\xff\":{" + good + "}}", four), 0},
      {"hole", safetensors_bytes(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", four), 9},
      {"overlap", safetensors_bytes(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", four), 63},
      {"trailing bytes", one(good, 20), 8 + 55 + 16},
      {"past the end", one(good, 8), 9},
      {"shape contradicts offsets", one(R"("dtype":"F32","shape":[5],"data_offsets":[0,16])"), 9},
      {"reversed offsets", one(R"("dtype":"F32","shape":[4],"data_offsets":[16,0])"), 9},
      {"negative extent", one(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])"), 9},
      {"overflowing shape", one(R"("dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,16])"), 9},
      {"unknown dtype", one(R"("dtype":"F33","shape":[4],"data_offsets":[0,16])"), 9},
      {"unhandled dtype", one(R"("dtype":"F64","shape":[2],"data_offsets":[0,16])"), 9, ErrorCode::unsupported},
      {"no dtype", one(R"("shape":[4],"data_offsets":[0,16])"), 9},
      {"metadata not strings", safetensors_bytes(R"({"__metadata__":{"a":1}})", ""), 9},
  };
  for (auto& malformed : cases) {
    // Where the JSON reader places a fault is its own matter: within the header.
    if (malformed.name == "duplicate tensor" || malformed.name == "invalid UTF-8") {
      write_file(dir / "case.safetensors", malformed.bytes);
      const auto file = ModelFile::open(dir / "case.safetensors");
      REQUIRE_FALSE(file);
      CHECK(file.error().code() == ErrorCode::bad_input);
      CHECK(file.error().offset().value_or(0) >= 8);
      continue;
    }
    expect_rejected(dir, malformed, ".safetensors");
  }
  write_file(dir / "good.safetensors", one(good));
  CHECK(ModelFile::open(dir / "good.safetensors").value()->find("w")->elements() == 4);
}

TEST_CASE("hub folders: shards stay inside, weights may be absent") {
  TempDir dir;
  const fs::path hub = dir / "hub";
  fs::create_directory(hub);
  CHECK(ModelFile::open(hub).error().code() == ErrorCode::not_found);  // no config.json
  write_file(hub / "config.json", R"({"model_type":"llama"})");
  const std::string shard = safetensors_bytes(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "abcd");
  const std::string index = "model.safetensors.index.json";
  CHECK(ModelFile::open(hub).value()->tensors().empty());
  write_file(dir / "outside.safetensors", shard);
  write_file(hub / "a.safetensors", shard);
  fs::create_symlink("../outside.safetensors", hub / "link.safetensors");
  fs::create_directory(hub / "folder.safetensors");
  for (const char* name : {"../outside.safetensors", "/etc/passwd", "..", ".", "", "sub/a.safetensors", "link.safetensors", "folder.safetensors", "absent.safetensors"}) {
    INFO(name);
    write_file(hub / index, R"({"weight_map":{"w":")" + std::string(name) + "\"}}");
    const auto file = ModelFile::open(hub);
    REQUIRE_FALSE(file);
    CHECK(file.error().code() == ErrorCode::bad_input);
    CHECK(file.error().offset());
  }
  write_file(hub / index, R"({"weight_map":{"w":"a.safetensors","v":"a.safetensors"}})");
  CHECK(ModelFile::open(hub).error().code() == ErrorCode::bad_input);  // v is not in it
  write_file(hub / index, R"({"weight_map":{"w":"a.safetensors"}})");
  CHECK(ModelFile::open(hub).value()->find("w") != nullptr);
  CHECK(ModelFile::open(hub).value()->config()["model_type"] == "llama");
  // As a hub cache lays shards out: links to the blobs of the same repository, and no farther.
  const fs::path revision = dir / "models--x--y" / "snapshots" / "0123";
  fs::create_directories(revision);
  fs::create_directories(dir / "models--x--y" / "blobs");
  write_file(dir / "models--x--y" / "blobs" / "beef", shard);
  write_file(revision / "config.json", R"({"model_type":"llama"})");
  write_file(revision / index, R"({"weight_map":{"w":"a.safetensors"}})");
  fs::create_symlink("../../blobs/beef", revision / "a.safetensors");
  CHECK(ModelFile::open(revision).value()->find("w") != nullptr);
  fs::remove(revision / "a.safetensors");
  fs::create_symlink("../../../outside.safetensors", revision / "a.safetensors");
  CHECK(ModelFile::open(revision).error().code() == ErrorCode::bad_input);
  fs::create_symlink("../outside.safetensors", hub / "model.safetensors");  // as a hub cache lays it out
  CHECK(ModelFile::open(hub).value()->find("w") != nullptr);
}

TEST_CASE("NaN and infinite scales are found") {
  TempDir dir;
  std::string data(68, '\0');
  data[34] = 0x00;
  data[35] = 0x7c;  // the second block's scale is infinite
  write_file(dir / "m.gguf", GgufWriter().tensor("w", {2, 32}, 8, data).bytes());
  const auto file = ModelFile::open(dir / "m.gguf").value();
  const auto status = check_finite(*file->find("w"));
  REQUIRE_FALSE(status);
  CHECK(status.error().offset() == file->find("w")->file_offset + 34);
}

TEST_CASE("real models open quickly") {
  for (const char* name : {"gemma-3-270m-Q4_K_M.gguf", "SmolLM2-135M-Instruct-Q4_1.gguf", "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf", "all-MiniLM-L6-v2"}) {
    const auto path = model(name);
    if (!path) continue;
    INFO(name);
    const auto begin = std::chrono::steady_clock::now();
    const auto file = ModelFile::open(*path);
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    REQUIRE(file);
    CHECK((*file)->tensors().size() > 100);
    WARN(name << " opened in " << ms << " ms");
    CHECK(ms < 5000);  // loose: sanitizers and busy machines; the figure above is what counts
  }
}
