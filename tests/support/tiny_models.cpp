#include "support/tiny_models.hpp"

#include <cstring>
#include <stdexcept>
#include <string_view>

#include "support/support.hpp"

namespace corvid::test {
namespace {

using Floats = std::vector<float>;

Floats draw(const std::string& name, std::size_t count, float amplitude, float offset) {
  std::uint64_t seed = 0xCBF29CE484222325u;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  Floats out(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t x = seed + (i + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    out[i] = (static_cast<float>(x >> 40) / 8388608.0f - 1.0f) * amplitude + offset;
  }
  return out;
}

std::size_t elements(const Json& shape) {
  std::size_t n = 1;
  for (const auto& extent : shape) n *= extent.get<std::size_t>();
  return n;
}

// [name, shape, amplitude, offset] and, where the name was changed, the one that the values are drawn for.
Floats weights(const Json& tensor) { return draw(tensor[tensor.size() > 4 ? 4 : 0].get<std::string>(), elements(tensor[1]), tensor[2].get<float>(), tensor[3].get<float>()); }

std::string_view bytes_of(const Floats& values) { return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}; }

// The order of Q's and K's rows in GGUF files of the llama family: the two halves of a head alternate.
Floats interleave(const Floats& values, std::size_t rows, std::size_t heads) {
  const std::size_t cols = values.size() / rows, half = rows / heads / 2;
  Floats out;
  out.reserve(values.size());
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t i = 0; i < half; ++i) {
      for (const std::size_t row : {h * 2 * half + i, h * 2 * half + half + i}) {
        out.insert(out.end(), values.begin() + static_cast<std::ptrdiff_t>(row * cols), values.begin() + static_cast<std::ptrdiff_t>((row + 1) * cols));
      }
    }
  }
  return out;
}

void write_safetensors(const Json& tensors, const std::filesystem::path& path) {
  Json header = Json::object();
  std::string data;
  for (const auto& tensor : tensors) {
    const Floats values = weights(tensor);
    const std::size_t begin = data.size();
    data += bytes_of(values);
    header[tensor[0].get<std::string>()] = {{"dtype", "F32"}, {"shape", tensor[1]}, {"data_offsets", {begin, data.size()}}};
  }
  write_file(path, safetensors_bytes(header.dump(), data));
}

const Json& named(const Json& list, const std::string& name) {
  for (const auto& item : list) if (item["name"] == name) return item;
  throw std::runtime_error("no tiny model " + name);
}

}  // namespace

TinyModels::TinyModels() {
  const auto folder = source_dir() / "tests" / "golden";
  json_ = Json::parse(read_file(folder / "tiny_models.json"));
  const std::string bytes = read_file(folder / "tiny_models.bin");
  outputs_.resize(bytes.size() / sizeof(float));
  std::memcpy(outputs_.data(), bytes.data(), outputs_.size() * sizeof(float));
}

const Json& TinyModels::decoder(const std::string& name) const { return named(json_["decoders"], name); }

const float* TinyModels::logits(const Json& decoder) const {
  std::size_t at = 0;
  while (json_["decoders"][at]["name"] != decoder["name"]) ++at;
  return outputs_.data() + at * json_["ids"].size() * vocab();
}

const float* TinyModels::vectors(const Json& encoder) const {
  std::size_t at = 0;
  while (json_["encoders"][at]["name"] != encoder["name"]) ++at;
  return outputs_.data() + json_["decoders"].size() * json_["ids"].size() * vocab() + at * json_["texts"].size() * 64;
}

void TinyModels::write_hub(const Json& decoder, const Json& config, const std::filesystem::path& folder) const {
  write_file(folder / "config.json", config.dump());
  write_file(folder / "tokenizer.json", json_["tokenizer"].dump());
  write_safetensors(decoder["tensors"], folder / "model.safetensors");
}

void TinyModels::write_encoder(const Json& encoder, const std::filesystem::path& folder) const {
  for (const auto& [name, content] : encoder["files"].items()) {
    std::filesystem::create_directories((folder / name).parent_path());
    write_file(folder / name, content.dump());
  }
  write_safetensors(encoder["tensors"], folder / "model.safetensors");
}

GgufWriter TinyModels::gguf(const Json& decoder) const {
  GgufWriter out;
  Json entries = decoder["gguf"]["metadata"];
  for (const auto& entry : json_["gguf_tokenizer"]) entries.push_back(entry);
  for (const auto& entry : entries) {
    const auto key = entry[0].get<std::string>(), kind = entry[1].get<std::string>();
    const Json& value = entry[2];
    if (kind == "string") out.string(key, value.get<std::string>());
    else if (kind == "u32") out.u32(key, value.get<std::uint32_t>());
    else if (kind == "f32") out.f32(key, value.get<float>());
    else if (kind == "strings") out.strings(key, value.get<std::vector<std::string>>());
    else if (kind == "integers") out.integers(key, value.get<std::vector<std::int32_t>>());
    else throw std::runtime_error("a metadata entry of the kind " + kind);
  }
  for (const auto& item : decoder["gguf"]["tensors"]) {
    const Json* source = nullptr;
    for (const auto& tensor : decoder["tensors"]) if (tensor[0] == item[1]) source = &tensor;
    if (!source) throw std::runtime_error("no hub tensor " + item[1].get<std::string>());
    Floats values = weights(*source);
    const auto change = item[2].get<std::string>();
    if (change.rfind("interleave ", 0) == 0) values = interleave(values, (*source)[1][0].get<std::size_t>(), std::stoul(change.substr(11)));
    else if (change == "add one") for (float& v : values) v += 1.0f;
    out.tensor(item[0].get<std::string>(), (*source)[1].get<std::vector<std::int64_t>>(), 0, bytes_of(values));
  }
  for (const auto& item : decoder["gguf"]["extra"]) {
    const auto values = item[1].get<Floats>();
    out.tensor(item[0].get<std::string>(), {static_cast<std::int64_t>(values.size())}, 0, bytes_of(values));
  }
  return out;
}

}  // namespace corvid::test
