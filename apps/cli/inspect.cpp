// corvid inspect: what a model file says of itself, and the memory it will need.
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "apps/cli/command.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/tensor/model_file.hpp"

namespace corvid::cli {

namespace {

constexpr std::uint64_t kShownElements = 8;   // of an array

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

Json scalar(MetadataType type, const std::byte* p) {
  switch (type) {
    case MetadataType::u8: return load<std::uint8_t>(p);
    case MetadataType::i8: return load<std::int8_t>(p);
    case MetadataType::u16: return load<std::uint16_t>(p);
    case MetadataType::i16: return load<std::int16_t>(p);
    case MetadataType::u32: return load<std::uint32_t>(p);
    case MetadataType::i32: return load<std::int32_t>(p);
    case MetadataType::f32: return load<float>(p);
    case MetadataType::boolean: return load<std::uint8_t>(p) != 0;
    case MetadataType::u64: return load<std::uint64_t>(p);
    case MetadataType::i64: return load<std::int64_t>(p);
    case MetadataType::f64: return load<double>(p);
    case MetadataType::string: case MetadataType::array: break;
  }
  return nullptr;
}

std::size_t width(MetadataType type) {
  switch (type) {
    case MetadataType::u8: case MetadataType::i8: case MetadataType::boolean: return 1;
    case MetadataType::u16: case MetadataType::i16: return 2;
    case MetadataType::u32: case MetadataType::i32: case MetadataType::f32: return 4;
    default: return 8;
  }
}

/// A value; of an array its length and first elements.
Json value_of(const Metadata::Entry& entry) {
  if (entry.type == MetadataType::string) return std::string(reinterpret_cast<const char*>(entry.payload.data()), entry.payload.size());
  if (entry.type != MetadataType::array) return scalar(entry.type, entry.payload.data());
  Json first = Json::array();
  const std::byte* p = entry.payload.data();
  for (std::uint64_t i = 0; i < entry.count && i < kShownElements; ++i) {
    if (entry.element_type == MetadataType::string) {
      const auto length = load<std::uint64_t>(p);
      first.push_back(std::string(reinterpret_cast<const char*>(p + 8), length));
      p += 8 + length;
    } else {
      first.push_back(scalar(entry.element_type, p));
      p += width(entry.element_type);
    }
  }
  return {{"count", entry.count}, {"first", std::move(first)}};
}

/// Bytes of weights as they lie and of the KV cache, where the file says enough to tell.
Result<Json> memory_needed(const ModelFile& file) {
  Json memory = {{"weights_bytes", file.total_tensor_bytes()}};
  std::uint64_t layers = 0, heads = 0, kv_heads = 0, width_ = 0, head = 0, context = 0;
  if (file.format() == ModelFormat::gguf) {
    const auto& metadata = file.metadata();
    CORVID_TRY(const auto architecture, metadata.string("general.architecture"));
    if (!architecture) return memory;
    const std::string prefix = std::string(*architecture) + ".";
    auto number = [&](const char* key, std::uint64_t& out) -> Status {
      const auto* entry = metadata.find(prefix + key);
      if (!entry || entry->type == MetadataType::array) return {};  // per-layer lists are the engine's business
      CORVID_TRY(const auto value, metadata.unsigned_integer(prefix + key));
      if (value) out = *value;
      return {};
    };
    CORVID_TRY_STATUS(number("block_count", layers));
    CORVID_TRY_STATUS(number("attention.head_count", heads));
    CORVID_TRY_STATUS(number("attention.head_count_kv", kv_heads));
    CORVID_TRY_STATUS(number("attention.key_length", head));
    CORVID_TRY_STATUS(number("embedding_length", width_));
    CORVID_TRY_STATUS(number("context_length", context));
  } else if (file.config().is_object()) {
    auto number = [&](const char* key, std::uint64_t& out) {
      const auto at = file.config().find(key);
      if (at != file.config().end() && at->is_number_unsigned()) out = at->get<std::uint64_t>();
    };
    number("num_hidden_layers", layers);
    number("num_attention_heads", heads);
    number("num_key_value_heads", kv_heads);
    number("head_dim", head);
    number("hidden_size", width_);
    number("max_position_embeddings", context);
  }
  if (kv_heads == 0) return memory;  // encoders keep no cache
  if (head == 0 && heads > 0) head = width_ / heads;
  constexpr std::uint64_t kSane = 1u << 24;
  if (layers == 0 || head == 0 || layers > kSane || kv_heads > kSane || head > kSane || context > (std::uint64_t{1} << 32)) return memory;
  const double per_token = 2.0 * static_cast<double>(layers) * static_cast<double>(kv_heads) * static_cast<double>(head) * 2.0;  // K and V in f16
  memory["kv_bytes_per_token"] = static_cast<std::uint64_t>(per_token);
  memory["context_tokens"] = context;
  memory["kv_bytes_at_context"] = static_cast<std::uint64_t>(per_token * static_cast<double>(context));
  return memory;
}

class Inspect final : public Command {
 public:
  CommandInfo info() const override {
    return {"inspect", "a model file's metadata, tensors and memory needed", "  corvid inspect SmolLM2-135M-Instruct-Q4_1.gguf\n  corvid inspect ./all-MiniLM-L6-v2 --json"};
  }
  void options(OptionSet& set) override {
    set.argument("FILE", file_, true, "GGUF or safetensors file, hub folder, or a name in the model folder");
    set.flag("no-tensors", no_tensors_, "leave the tensors out");
  }
  Status run(Session& session) override {
    CORVID_TRY(const auto path, find_model(file_));
    CORVID_TRY(const auto file, ModelFile::open(path));
    return session.json ? as_json(session, *file) : as_text(session, *file);
  }

 private:
  Status as_json(Session& session, const ModelFile& file) {
    Json out = {{"path", file.path().string()}, {"format", std::string(to_string(file.format()))}, {"identity", file.identity()}, {"metadata", Json::object()}, {"config", file.config()}};
    for (const auto& entry : file.metadata().entries()) out["metadata"][std::string(entry.key)] = value_of(entry);
    std::uint64_t parameters = 0;
    Json tensors = Json::array();
    for (const auto& tensor : file.tensors()) {
      parameters += static_cast<std::uint64_t>(tensor.elements());
      if (!no_tensors_) {
        tensors.push_back({{"name", tensor.name}, {"dtype", std::string(traits(tensor.dtype).name)}, {"shape", tensor.shape}, {"bytes", tensor.bytes.size()}, {"offset", tensor.file_offset}});
      }
    }
    if (!no_tensors_) out["tensors"] = std::move(tensors);
    out["tensor_count"] = file.tensors().size();
    out["parameters"] = parameters;
    CORVID_TRY(out["memory"], memory_needed(file));
    return session.write_json(out);
  }

  Status as_text(Session& session, const ModelFile& file) {
    CORVID_TRY_STATUS(session.write_line(session.bold(file.path().string()) + "  " + std::string(to_string(file.format()))));
    for (const auto& entry : file.metadata().entries()) {
      std::string text = dump_json(value_of(entry));
      if (text.size() > 100) text = text.substr(0, 97) + "...";
      CORVID_TRY_STATUS(session.write_line("  " + std::string(entry.key) + " = " + text));
    }
    if (file.config().is_object()) {
      for (const auto& [key, value] : file.config().items()) CORVID_TRY_STATUS(session.write_line("  " + key + " = " + dump_json(value)));
    }
    std::uint64_t parameters = 0;
    for (const auto& tensor : file.tensors()) {
      parameters += static_cast<std::uint64_t>(tensor.elements());
      if (no_tensors_) continue;
      char line[256];
      std::snprintf(line, sizeof line, "  %-48s %-5s %14zu  ", tensor.name.c_str(), std::string(traits(tensor.dtype).name).c_str(), tensor.bytes.size());
      CORVID_TRY_STATUS(session.write_line(line + dump_json(Json(tensor.shape))));
    }
    CORVID_TRY(const Json memory, memory_needed(file));
    CORVID_TRY_STATUS(session.write_line(std::to_string(file.tensors().size()) + " tensors, " + std::to_string(parameters) + " parameters"));
    for (const auto& [key, value] : memory.items()) CORVID_TRY_STATUS(session.write_line("  " + key + " = " + dump_json(value)));
    return {};
  }

  std::string file_;
  bool no_tensors_ = false;
};

}  // namespace

std::unique_ptr<Command> make_inspect() { return std::make_unique<Inspect>(); }

}  // namespace corvid::cli
