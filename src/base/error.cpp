#include "corvid/base/error.hpp"

#include <utility>

namespace corvid {

struct Error::Body {
  ErrorCode code;
  std::string message;
  std::string file;
  std::string key;
  std::optional<std::uint64_t> offset;
  std::shared_ptr<const Error> cause;
};

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::bad_input: return "bad_input";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::limit_exceeded: return "limit_exceeded";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::interrupted: return "interrupted";
    case ErrorCode::deadline_exceeded: return "deadline_exceeded";
    case ErrorCode::io: return "io";
    case ErrorCode::network: return "network";
    case ErrorCode::rejected: return "rejected";
    case ErrorCode::conflict: return "conflict";
    case ErrorCode::internal: return "internal";
  }
  return "internal";
}

Error::Error(ErrorCode code, std::string message)
    : body_(std::make_shared<Body>(Body{code, std::move(message), {}, {}, std::nullopt, nullptr})) {}

Error::Body& Error::own() {
  if (body_.use_count() != 1) body_ = std::make_shared<Body>(*body_);
  return *body_;
}

Error Error::at_file(std::string path) && {
  if (body_->file.empty()) own().file = std::move(path);
  return std::move(*this);
}
Error Error::at_offset(std::uint64_t byte_offset) && {
  if (!body_->offset) own().offset = byte_offset;
  return std::move(*this);
}
Error Error::at_key(std::string key) && {
  if (body_->key.empty()) own().key = std::move(key);
  return std::move(*this);
}
Error Error::caused_by(Error cause) && {
  if (!body_->cause) own().cause = std::make_shared<const Error>(std::move(cause));
  return std::move(*this);
}

ErrorCode Error::code() const noexcept { return body_->code; }
const std::string& Error::message() const noexcept { return body_->message; }
const std::string& Error::file() const noexcept { return body_->file; }
const std::string& Error::key() const noexcept { return body_->key; }
std::optional<std::uint64_t> Error::offset() const noexcept { return body_->offset; }
const Error* Error::cause() const noexcept { return body_->cause.get(); }

std::string Error::describe() const {
  std::string place;
  const auto add = [&place](const std::string& part) { place += (place.empty() ? "" : ", ") + part; };
  if (!file().empty()) add(file());
  if (offset()) add("byte " + std::to_string(*offset()));
  if (!key().empty()) add(key());
  std::string text = message();
  if (!place.empty()) text += " (" + place + ")";
  if (cause()) text += ": " + cause()->describe();
  return text;
}

}  // namespace corvid
