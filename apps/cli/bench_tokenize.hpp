// bench tokenize: text to ids on one thread, and the tokenizer's load.
#pragma once

#include <cstdint>
#include <string>

#include "corvid/base/result.hpp"

namespace corvid::cli {

class Session;

Status bench_tokenize(Session& session, const std::string& model, const std::string& file, std::int64_t runs);

}  // namespace corvid::cli
