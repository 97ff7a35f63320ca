#include "llm/engine/synthetic.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

namespace corvid::llm {
namespace {

// Matrices are filled from one random stretch of this many blocks, each from another place in it: speed does not depend on more.
constexpr std::size_t kPatternBlocks = 4099;
constexpr float kDeviation = 0.02f;

class Random {
 public:
  std::uint64_t next() {  // splitmix64, Steele et al. 2014
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  float uniform() { return static_cast<float>(next() >> 40) / 16777216.0f - 0.5f; }  // deviation 0.289

 private:
  std::uint64_t state_ = 7;
};

// Scales that give values of about kDeviation, from the deviation of the stored numbers.
struct Scale { std::size_t offset; float value; };
std::vector<Scale> scales(DType dtype) {
  switch (dtype) {
    case DType::q8_0: return {{0, kDeviation / 74}};
    case DType::q5_0: return {{0, kDeviation / 9.2f}};
    case DType::q4_k: return {{0, kDeviation / (31 * 4.6f)}, {2, 7.5f * kDeviation / (31 * 4.6f)}};
    case DType::q6_k: return {{208, kDeviation / (74 * 18.5f)}};
    default: return {};
  }
}

std::vector<std::byte> pattern_of(DType dtype) {
  Random random;
  const auto block = static_cast<std::size_t>(traits(dtype).block_bytes);
  std::vector<std::byte> bytes;
  if (dtype == DType::bf16) {
    bytes.resize(kPatternBlocks * 256 * 2);
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
      const std::uint16_t bits = float_to_bfloat16(random.uniform() * kDeviation / 0.289f);
      std::memcpy(bytes.data() + i, &bits, 2);
    }
    return bytes;
  }
  bytes.resize(kPatternBlocks * block);
  for (auto& b : bytes) b = static_cast<std::byte>(random.next());
  for (std::size_t at = 0; at < bytes.size(); at += block) {
    for (const Scale& scale : scales(dtype)) {
      const std::uint16_t bits = float_to_half(scale.value * (1 + random.uniform()));
      std::memcpy(bytes.data() + at + scale.offset, &bits, 2);
    }
  }
  return bytes;
}

class MemoryModel final : public ModelFile {
 public:
  ~MemoryModel() override {
    if (memory_) munmap(memory_, size_);
  }
  void release(std::span<const std::byte> bytes) const noexcept override {
    // Generated values: whoever looks again finds zeros.
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page, end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size()) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  void add(std::string name, std::vector<std::int64_t> shape, DType dtype) {
    TensorInfo info;
    info.name = std::move(name);
    info.dtype = dtype;
    info.shape = std::move(shape);
    info.file = path_.string();
    info.file_offset = size_;
    size_ += (static_cast<std::size_t>(bytes_of(dtype, static_cast<std::uint64_t>(info.elements())).value_or(0)) + 63) / 64 * 64;
    tensors_.push_back(std::move(info));
  }
  Status fill(Runtime& runtime, bool budgeted) {
    if (budgeted) {
      CORVID_TRY(held_, runtime.memory().reserve(size_, "weights"));
    }
    void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return fail(Error::out_of_memory("the system has no " + std::to_string(size_) + " bytes for generated weights"));
    memory_ = static_cast<std::byte*>(memory);
    std::map<DType, std::vector<std::byte>> patterns;
    for (const auto& info : tensors_) if (info.shape.size() == 2 && !patterns.count(info.dtype)) patterns[info.dtype] = pattern_of(info.dtype);
    runtime.pool().parallel_for(tensors_.size(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        TensorInfo& info = tensors_[i];
        std::byte* const to = memory_ + info.file_offset;
        const auto size = static_cast<std::size_t>(bytes_of(info.dtype, static_cast<std::uint64_t>(info.elements())).value_or(0));
        if (info.shape.size() == 1) {
          // Gains near 1, biases near 0.
          const float middle = info.name.ends_with("bias") ? 0.0f : 1.0f;
          for (std::size_t k = 0; k < size / 4; ++k) {
            const float value = middle + 0.1f * (static_cast<float>((k * 37 + i) % 101) / 100.0f - 0.5f);
            std::memcpy(to + 4 * k, &value, 4);
          }
        } else {
          const auto& pattern = patterns.at(info.dtype);
          const std::size_t block = info.dtype == DType::bf16 ? 512 : traits(info.dtype).block_bytes;
          std::size_t from = (i * 97) % (pattern.size() / block) * block;
          for (std::size_t at = 0; at < size;) {
            const std::size_t count = std::min(size - at, pattern.size() - from);
            std::memcpy(to + at, pattern.data() + from, count);
            at += count;
            from = 0;
          }
        }
        info.bytes = std::span<const std::byte>(to, size);
      }
    });
    return {};
  }
  void name(std::string text) { path_ = std::move(text); }

  ModelFormat format() const noexcept override { return ModelFormat::gguf; }
  const std::filesystem::path& path() const noexcept override { return path_; }
  const Metadata& metadata() const noexcept override { return metadata_; }
  const Json& config() const noexcept override { return config_; }
  std::span<const TensorInfo> tensors() const noexcept override { return tensors_; }
  const TensorInfo* find(std::string_view wanted) const noexcept override {
    for (const auto& info : tensors_) if (info.name == wanted) return &info;
    return nullptr;
  }
  std::uint64_t total_tensor_bytes() const noexcept override { return size_; }
  std::string identity() const override { return path_.string(); }

 private:
  std::filesystem::path path_;
  Metadata metadata_;
  Json config_;
  std::vector<TensorInfo> tensors_;
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  Reservation held_;
};

class IdsOnly final : public Tokenizer {
 public:
  explicit IdsOnly(std::int64_t vocab) : vocab_(vocab) {}
  Result<std::vector<TokenId>> encode(std::string_view, const EncodeOptions&) const override { return fail(no_text()); }
  Result<std::vector<TokenSpan>> encode_spans(std::string_view, const EncodeOptions&) const override { return fail(no_text()); }
  std::string token_bytes(TokenId, bool) const override { return {}; }
  std::string decode(std::span<const TokenId>, bool) const override { return {}; }
  std::int64_t vocab_size() const noexcept override { return vocab_; }
  std::string_view kind() const noexcept override { return "ids only"; }
  std::optional<TokenId> find(std::string_view) const noexcept override { return std::nullopt; }
  bool is_control(TokenId) const noexcept override { return false; }
  std::optional<TokenId> bos() const noexcept override { return std::nullopt; }
  std::optional<TokenId> eos() const noexcept override { return std::nullopt; }
  bool adds_bos() const noexcept override { return false; }
  std::span<const TokenId> end_of_generation() const noexcept override { return {}; }

 private:
  static Error no_text() { return Error::unsupported("a model with generated weights has no vocabulary: give token ids"); }
  std::int64_t vocab_;
};

std::optional<LlmConfig> shape_named(std::string_view name) {
  LlmConfig c;
  const auto sizes = [&](std::int64_t layers, std::int64_t width, std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t ffn, std::int64_t vocab, std::int64_t context) {
    c.layers = layers; c.width = width; c.heads = heads; c.kv_heads = kv_heads; c.head_dim = head_dim; c.ffn = ffn; c.vocab = vocab; c.context = context;
  };
  c.tied = true;
  if (name == "smollm2-135m") {
    c.architecture = "llama";
    sizes(30, 576, 9, 3, 64, 1536, 49152, 8192);
    c.rope.base = 100000;
  } else if (name == "llama-8b") {
    c.architecture = "llama";
    sizes(32, 4096, 32, 8, 128, 14336, 128256, 131072);
    c.rope.base = 500000;
    c.tied = false;
  } else if (name == "qwen2.5-0.5b") {
    c.architecture = "qwen2";
    sizes(24, 896, 14, 2, 64, 4864, 151936, 32768);
    c.rope.base = 1000000;
    c.eps = 1e-6f;
  } else if (name == "gemma3-270m") {
    c.architecture = "gemma3";
    sizes(18, 640, 4, 1, 256, 2048, 262144, 32768);
    c.rope.base = 1000000;
    c.eps = 1e-6f;
    c.embedding_scale = std::sqrt(640.0f);
    c.activation = ops::Activation::gelu_tanh;
    c.qk_norm = c.post_norms = true;
    c.window = 512;
  } else {
    return std::nullopt;
  }
  c.pairing = c.architecture == "llama" ? ops::RopePairing::interleaved : ops::RopePairing::halves;
  c.rope_dims = c.head_dim;
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  for (std::int64_t i = 0; i < c.layers; ++i) c.sliding.push_back(c.window > 0 && i % 6 != 5);
  return c;
}

}  // namespace

Result<SyntheticModel> synthetic_model(Runtime& runtime, std::string_view shape, std::string_view quant, Device device) {
  const auto config = shape_named(shape);
  if (!config) return fail(Error::invalid_argument("no shape \"" + std::string(shape) + "\"; known are smollm2-135m, qwen2.5-0.5b, gemma3-270m and llama-8b").at_key("shape"));
  if (quant != "bf16" && quant != "q8_0" && quant != "q4_k_m") return fail(Error::invalid_argument("no quantisation \"" + std::string(quant) + "\"; known are bf16, q8_0 and q4_k_m").at_key("quant"));
  const LlmConfig& c = *config;
  auto file = std::make_shared<MemoryModel>();
  file->name(std::string(shape) + " " + std::string(quant) + " (generated)");
  const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t cols, bool more_bits) {
    DType dtype = quant == "bf16" ? DType::bf16 : quant == "q8_0" ? DType::q8_0 : more_bits ? DType::q6_k : DType::q4_k;
    // Rows that are no whole number of super-blocks fall back to formats of 32, as llama.cpp's quantiser does.
    if (cols % 256 != 0 && dtype == DType::q4_k) dtype = DType::q5_0;
    if (cols % 256 != 0 && dtype == DType::q6_k) dtype = DType::q8_0;
    file->add(name, {rows, cols}, dtype);
  };
  const auto vector = [&](const std::string& name, std::int64_t size) { file->add(name, {size}, DType::f32); };
  matrix("token_embd.weight", c.vocab, c.width, *c.tied);
  vector("output_norm.weight", c.width);
  if (!*c.tied) matrix("output.weight", c.vocab, c.width, true);
  const std::int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string at = "blk." + std::to_string(i) + ".";
    const std::int64_t eighth = c.layers / 8;
    const bool more = i < eighth || i >= 7 * eighth || (i - eighth) % 3 == 2;  // llama.cpp's choice of layers for Q4_K_M
    vector(at + "attn_norm.weight", c.width);
    matrix(at + "attn_q.weight", q, c.width, false);
    matrix(at + "attn_k.weight", kv, c.width, false);
    matrix(at + "attn_v.weight", kv, c.width, more);
    matrix(at + "attn_output.weight", c.width, q, false);
    if (c.architecture == "qwen2") {
      vector(at + "attn_q.bias", q);
      vector(at + "attn_k.bias", kv);
      vector(at + "attn_v.bias", kv);
    }
    if (c.qk_norm) {
      vector(at + "attn_q_norm.weight", c.head_dim);
      vector(at + "attn_k_norm.weight", c.head_dim);
    }
    vector(at + "ffn_norm.weight", c.width);
    if (c.post_norms) {
      vector(at + "post_attention_norm.weight", c.width);
      vector(at + "post_ffw_norm.weight", c.width);
    }
    matrix(at + "ffn_gate.weight", c.ffn, c.width, false);
    matrix(at + "ffn_up.weight", c.ffn, c.width, false);
    matrix(at + "ffn_down.weight", c.width, c.ffn, more);
  }
  CORVID_TRY_STATUS(file->fill(runtime, !device.is_cpu()));
  return SyntheticModel{file, c, std::make_shared<IdsOnly>(c.vocab)};
}

}  // namespace corvid::llm
