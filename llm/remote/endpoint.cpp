#include "llm/remote/endpoint.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <system_error>

namespace corvid::llm {

namespace {

constexpr std::size_t kMaxKeyBytes = std::size_t{16} << 10;
constexpr std::string_view kSuffix = "/chat/completions";

Error wrong_url(const std::string& what) {
  return Error::invalid_argument("base_url must be \"https://host[:port][/path]\": " + what).at_key("base_url");
}

bool starts_with_scheme(std::string_view url, std::string_view scheme) {
  return url.size() >= scheme.size() && std::equal(scheme.begin(), scheme.end(), url.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b);
         });
}

bool loopback(std::string_view host) { return host == "localhost" || host == "::1" || host.substr(0, 4) == "127."; }

bool host_character(char c, bool v6) {
  const bool digit = c >= '0' && c <= '9';
  if (v6) return digit || c == ':' || c == '.' || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  return digit || c == '.' || c == '-' || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

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

Result<Endpoint> parse_endpoint(std::string_view url, bool allow_plain_http) {
  Endpoint out;
  if (starts_with_scheme(url, "https://")) {
    url.remove_prefix(8);
  } else if (starts_with_scheme(url, "http://")) {
    url.remove_prefix(7);
    out.tls = false;
    out.port = 80;
  } else {
    return fail(wrong_url("it begins with neither https:// nor http://"));
  }
  for (const char c : url) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f) return fail(wrong_url("it has a space, a control character or one beyond ASCII"));
    if (c == '?' || c == '#') return fail(wrong_url("it has a query or fragment"));
  }
  const std::string_view authority = url.substr(0, url.find('/'));
  std::string_view path = url.substr(authority.size());
  if (authority.find('@') != std::string_view::npos) return fail(wrong_url("a key belongs into a variable or file, not into the URL"));
  std::string_view host = authority, port;
  const bool v6 = !authority.empty() && authority.front() == '[';
  if (v6) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return fail(wrong_url("']' is missing"));
    host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
  } else if (const std::size_t colon = authority.find(':'); colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (host.empty()) return fail(wrong_url("the host is missing"));
  if (!std::all_of(host.begin(), host.end(), [&](char c) { return host_character(c, v6); })) {
    return fail(wrong_url("the host has a character that no host has"));
  }
  if (!port.empty()) {
    const char* end = port.data() + port.size();
    const auto read = std::from_chars(port.data() + 1, end, out.port);
    if (port.front() != ':' || read.ec != std::errc() || read.ptr != end || out.port < 1 || out.port > 65535) {
      return fail(wrong_url("the port must be 1 … 65535"));
    }
  }
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  out.host = host;
  out.path = path;
  if (path.size() < kSuffix.size() || path.substr(path.size() - kSuffix.size()) != kSuffix) out.path += kSuffix;
  out.name = (out.tls ? "https://" : "http://") + std::string(authority) + out.path;
  if (!out.tls && !allow_plain_http && !loopback(out.host)) {
    return fail(Error::invalid_argument("http to " + out.host + " would send prompts and the key readable over the network; use https, "
                                        "or allow plain http").at_key("base_url"));
  }
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
