// Parser: tokens to the syntax tree.
#pragma once

#include <string_view>

#include "llm/chat_template/ast.hpp"

namespace corvid::llm::tmpl {

/// Throws Failure: bad_input (syntax), unsupported (a construct outside the subset, named), limit_exceeded (nesting); all with offsets.
Body parse(std::string_view source, std::size_t max_depth);

/// Known to the interpreter.
bool filter_exists(std::string_view name);
bool test_exists(std::string_view name);

}  // namespace corvid::llm::tmpl
