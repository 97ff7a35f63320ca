#include "corvid/base/json.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

namespace corvid {
namespace {

// Builds the value while it watches depth and keys; nlohmann's own DOM builder has no limits.
class LimitedBuilder : public nlohmann::json_sax<Json> {
 public:
  LimitedBuilder(Json& root, const JsonLimits& limits) : root_(root), limits_(limits) {}

  std::optional<Error> error;

  bool null() override { return put(Json(nullptr)); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(number_integer_t value) override { return put(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return put(Json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return put(Json(value)); }
  bool string(string_t& value) override { return put(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }  // not in JSON text
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (limits_.reject_duplicate_keys && stack_.back()->contains(value)) {
      error = Error::bad_input("the key stands twice in one object").at_key(value);
      return false;
    }
    keys_.back() = std::move(value);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    // nlohmann says "[json.exception.parse_error.101] parse error at line 1, column 2: …"; the reason alone is for people.
    std::string reason = e.what();
    if (const auto colon = reason.find(": "); colon != std::string::npos) reason = reason.substr(colon + 2);
    error = Error::bad_input("not valid JSON: " + reason).at_offset(position == 0 ? 0 : position - 1);
    return false;
  }

 private:
  Json* place(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& top = *stack_.back();
    if (top.is_array()) {
      top.push_back(std::move(value));
      return &top.back();
    }
    return &(top[keys_.back()] = std::move(value));
  }
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (stack_.size() >= limits_.max_depth) {
      error = Error::bad_input("nested deeper than " + std::to_string(limits_.max_depth) + " levels");
      return false;
    }
    stack_.push_back(place(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  Json& root_;
  const JsonLimits& limits_;
  std::vector<Json*> stack_;
  std::vector<std::string> keys_;
};

// Reads characters and counts them, so that an error of our own knows its offset too.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  CountingIterator(const char* at, std::size_t* count) : at_(at), count_(count) {}
  const char& operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  std::size_t* count_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return fail(Error::limit_exceeded("the JSON text has " + std::to_string(text.size()) + " bytes; at most " +
                                      std::to_string(limits.max_bytes) + " are read"));
  }
  Json value;
  LimitedBuilder builder(value, limits);
  std::size_t count = 0;
  CountingIterator begin(text.data(), &count), end(text.data() + text.size(), &count);
  const bool ok = Json::sax_parse(begin, end, &builder, Json::input_format_t::json, true);
  if (!ok) {
    if (!builder.error) builder.error = Error::internal("the JSON parser stopped without a reason");
    return fail(std::move(*builder.error).at_offset(count == 0 ? 0 : count - 1));
  }
  return value;
}

Result<Json> read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
  std::error_code status;
  const auto size = std::filesystem::file_size(path, status);
  if (status) {
    const bool missing = status == std::errc::no_such_file_or_directory;
    Error error(missing ? ErrorCode::not_found : ErrorCode::io, "cannot read the file: " + status.message());
    return fail(std::move(error).at_file(path.string()));
  }
  if (size > limits.max_bytes) {
    return fail(Error::limit_exceeded("the file has " + std::to_string(size) + " bytes; at most " + std::to_string(limits.max_bytes) +
                                      " are read").at_file(path.string()));
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  if (in) bytes << in.rdbuf();
  if (!in || (size > 0 && !bytes)) return fail(Error::io("the file could not be read").at_file(path.string()));
  auto value = parse_json(bytes.view(), limits);
  if (!value) return fail(std::move(value).error().at_file(path.string()));
  return value;
}

std::string dump_json(const Json& value, int indent) { return value.dump(indent, ' ', false, Json::error_handler_t::replace); }

}  // namespace corvid
