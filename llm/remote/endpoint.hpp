// Where an endpoint is, and the key to it.
#pragma once

#include <string>
#include <string_view>

#include "corvid/base/result.hpp"
#include "corvid/llm/remote_chat_model.hpp"
#include "src/base/http_url.hpp"

namespace corvid::llm {

/// "http(s)://host[:port][/path]", "/chat/completions" added where it is not the path's end. Errors: invalid_argument (anything
/// else, a user name or key in the URL, http to another machine without leave).
Result<HttpUrl> parse_endpoint(std::string_view base_url, bool allow_plain_http);

/// The key that the options name, white space around it removed; empty for none. Errors: not_found (variable, file), io,
/// invalid_argument (both named, an empty key, a control character, over 16 KiB). No message repeats any of it.
Result<std::string> read_key(const RemoteChatOptions& options);

/// With the key replaced, wherever it stands: endpoints repeat what they were sent.
std::string without_key(std::string text, const std::string& key);
Error without_key(Error error, const std::string& key);

}  // namespace corvid::llm
