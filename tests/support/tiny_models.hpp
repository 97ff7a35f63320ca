// TinyModels: the tiny models of tests/golden/tiny_models.json, with their weights drawn as its script draws them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "corvid/base/json.hpp"
#include "support/gguf_writer.hpp"

namespace corvid::test {

class TinyModels {
 public:
  TinyModels();

  const Json& decoders() const { return json_["decoders"]; }
  const Json& decoder(const std::string& name) const;
  const Json& encoders() const { return json_["encoders"]; }
  std::vector<std::int32_t> ids() const { return json_["ids"].get<std::vector<std::int32_t>>(); }
  std::vector<std::string> texts() const { return json_["texts"].get<std::vector<std::string>>(); }
  std::size_t vocab() const { return json_["vocab"].get<std::size_t>(); }

  const float* logits(const Json& decoder) const;    ///< [ids, vocab], by its name
  const float* vectors(const Json& encoder) const;   ///< [texts, 64]

  void write_hub(const Json& decoder, const Json& config, const std::filesystem::path& folder) const;
  void write_encoder(const Json& encoder, const std::filesystem::path& folder) const;
  GgufWriter gguf(const Json& decoder) const;

 private:
  Json json_;
  std::vector<float> outputs_;
};

}  // namespace corvid::test
