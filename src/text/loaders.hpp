// The two sources of a tokenizer.
#pragma once

#include <filesystem>
#include <memory>

#include "corvid/text/tokenizer.hpp"

namespace corvid {

Result<std::shared_ptr<const Tokenizer>> load_gguf_tokenizer(const ModelFile& file);
Result<std::shared_ptr<const Tokenizer>> load_hub_tokenizer(const std::filesystem::path& tokenizer_json);

}  // namespace corvid
