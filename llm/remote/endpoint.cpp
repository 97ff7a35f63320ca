#include "llm/remote/endpoint.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <system_error>

namespace corvid::llm {

namespace {

constexpr std::size_t kMaxKeyBytes = std::size_t{16} << 10;
constexpr std::string_view kSuffix = "/chat/completions";

Result<std::string> key_text(std::string text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && space(text.back())) text.pop_back();
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
  if (text.empty()) return fail(Error::invalid_argument("the key is empty"));
  if (text.size() > kMaxKeyBytes) return fail(Error::invalid_argument("the key has over " + std::to_string(kMaxKeyBytes) + " bytes"));
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x21 || byte > 0x7e) return fail(Error::invalid_argument("the key has characters that no key has: it must be one word of ASCII"));
  }
  return text;
}

}  // namespace

Result<HttpUrl> parse_endpoint(std::string_view base_url, bool allow_plain_http) {
  static const HttpUrlWords kWords{"base_url", "base_url must be \"https://host[:port][/path]\"", "a variable or file", "prompts and the key", "allow plain http"};
  CORVID_TRY(auto out, parse_http_url(base_url, allow_plain_http, kWords));
  std::string& path = out.path;
  while (!path.empty() && path.back() == '/') path.pop_back();
  if (path.size() < kSuffix.size() || path.compare(path.size() - kSuffix.size(), kSuffix.size(), kSuffix) != 0) path += kSuffix;
  return out;
}

Result<std::string> read_key(const RemoteChatOptions& options) {
  if (options.api_key_env.empty() && options.api_key_file.empty()) return std::string();
  if (!options.api_key_env.empty() && !options.api_key_file.empty()) {
    return fail(Error::invalid_argument("the key comes from a variable or from a file: name one of them").at_key("api_key_file"));
  }
  if (!options.api_key_env.empty()) {
    const char* value = std::getenv(options.api_key_env.c_str());
    if (!value || !*value) {
      return fail(Error::not_found("the environment variable " + options.api_key_env + ", which should hold the key, is not set").at_key("api_key_env"));
    }
    auto key = key_text(value);
    if (!key) return fail(Error::invalid_argument(key.error().message() + ": see " + options.api_key_env).at_key("api_key_env"));
    return key;
  }
  const std::string path = options.api_key_file.string();
  std::error_code failure;
  if (!std::filesystem::exists(options.api_key_file, failure)) {
    return fail(Error::not_found("the file that should hold the key is not there").at_file(path).at_key("api_key_file"));
  }
  std::ifstream in(options.api_key_file, std::ios::binary);
  std::string text(kMaxKeyBytes + 64, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (!in.eof() && in.gcount() == 0)) {
    return fail(Error::io("the file that should hold the key cannot be read").at_file(path).at_key("api_key_file"));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  auto key = key_text(std::move(text));
  if (!key) return fail(Error::invalid_argument(key.error().message()).at_file(path).at_key("api_key_file"));
  return key;
}

std::string without_key(std::string text, const std::string& key) {
  if (key.empty()) return text;
  constexpr std::string_view kShown = "[key]";
  for (std::size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + kShown.size())) text.replace(at, key.size(), kShown);
  return text;
}

Error without_key(Error error, const std::string& key) {
  if (key.empty() || error.describe().find(key) == std::string::npos) return error;
  Error out(error.code(), without_key(error.message(), key));
  if (!error.file().empty()) out = std::move(out).at_file(error.file());
  if (!error.key().empty()) out = std::move(out).at_key(without_key(error.key(), key));
  if (error.offset()) out = std::move(out).at_offset(*error.offset());
  if (const Error* cause = error.cause()) out = std::move(out).caused_by(without_key(*cause, key));
  return out;
}

}  // namespace corvid::llm
