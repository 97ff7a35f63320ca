// Sampler::save and restore: a fixed little-endian record, then the bias pairs.
#include <bit>
#include <cstring>
#include <string>
#include <type_traits>

#include "llm/sampling/sampler.hpp"

namespace corvid::llm {

namespace {

constexpr std::uint32_t kMagic = 0x31505343;  // "CSP1"

class Writer {
 public:
  template <class T>
  void put(T value) {
    static_assert(std::is_integral_v<T>);
    const auto bits = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) bytes_.push_back(static_cast<std::byte>(bits >> (8 * i)));
  }
  void put(float value) { put(std::bit_cast<std::uint32_t>(value)); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  Status get(T& value) {
    if (bytes_.size() - at_ < sizeof(T)) {
      return fail(Error::bad_input("the saved sampler ends early: " + std::to_string(bytes_.size()) + " bytes").at_offset(at_));
    }
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) bits |= static_cast<std::uint64_t>(bytes_[at_ + i]) << (8 * i);
    at_ += sizeof(T);
    if constexpr (std::is_same_v<T, float>) value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    else value = static_cast<T>(bits);
    return {};
  }
  std::size_t at() const { return at_; }
  std::size_t left() const { return bytes_.size() - at_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<std::byte> Sampler::save() const {
  const SamplingParams& p = params_;
  Writer w;
  w.put(kMagic);
  w.put(vocab_);
  w.put(random_.counter());
  w.put(p.seed);
  w.put(p.temperature);
  w.put(static_cast<std::int32_t>(p.top_k));
  w.put(p.top_p);
  w.put(p.min_p);
  w.put(p.typical_p);
  w.put(p.repetition_penalty);
  w.put(p.presence_penalty);
  w.put(p.frequency_penalty);
  w.put(static_cast<std::int32_t>(p.penalty_window));
  w.put(static_cast<std::int32_t>(p.logprobs));
  w.put(static_cast<std::uint32_t>(p.logit_bias.size()));
  for (const auto& [id, bias] : p.logit_bias) {
    w.put(id);
    w.put(bias);
  }
  return w.take();
}

Result<Sampler> Sampler::restore(std::span<const std::byte> bytes) {
  Reader r(bytes);
  std::uint32_t magic = 0, biases = 0;
  std::int64_t vocab = 0;
  std::uint64_t counter = 0;
  std::int32_t top_k = 0, window = 0, logprobs = 0;
  SamplingParams p;
  CORVID_TRY_STATUS(r.get(magic));
  if (magic != kMagic) return fail(Error::bad_input("these bytes are not a saved sampler of this version").at_offset(0));
  CORVID_TRY_STATUS(r.get(vocab));
  CORVID_TRY_STATUS(r.get(counter));
  CORVID_TRY_STATUS(r.get(p.seed));
  CORVID_TRY_STATUS(r.get(p.temperature));
  CORVID_TRY_STATUS(r.get(top_k));
  for (float* field : {&p.top_p, &p.min_p, &p.typical_p, &p.repetition_penalty, &p.presence_penalty, &p.frequency_penalty}) {
    CORVID_TRY_STATUS(r.get(*field));
  }
  CORVID_TRY_STATUS(r.get(window));
  CORVID_TRY_STATUS(r.get(logprobs));
  CORVID_TRY_STATUS(r.get(biases));
  if (r.left() != std::size_t{biases} * 8) {
    return fail(Error::bad_input("the saved sampler names " + std::to_string(biases) + " logit biases, but " + std::to_string(r.left()) +
                                 " bytes follow").at_offset(r.at()));
  }
  for (std::uint32_t i = 0; i < biases; ++i) {
    TokenId id = 0;
    float bias = 0;
    CORVID_TRY_STATUS(r.get(id));
    CORVID_TRY_STATUS(r.get(bias));
    p.logit_bias[id] = bias;
  }
  p.top_k = top_k;
  p.penalty_window = window;
  p.logprobs = logprobs;
  if (auto valid = validate(p, vocab); !valid) {
    return fail(Error::bad_input("the saved sampler's parameters are out of range").caused_by(valid.error()));
  }
  return Sampler(std::move(p), vocab, counter);
}

}  // namespace corvid::llm
