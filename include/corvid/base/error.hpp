// What went wrong, where, and what to do about it.
//
//   return Error::bad_input("header ends early: 12 of 24 bytes; the download was cut, fetch the file again")
//       .at_file(path).at_offset(12);
//
// Every failure that a user of the library can meet travels as an Error inside a Result<T> (result.hpp).
// Errors are cheap to move (one pointer) and immutable once built. The library never aborts and never prints.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace corvid {

/// The kind of a failure. Programs branch on this; people read Error::message().
enum class ErrorCode : std::uint8_t {
  invalid_argument,   ///< the caller asked for something meaningless (CLI exit 2)
  bad_input,          ///< a file or message is malformed or damaged (CLI exit 3)
  not_found,          ///< a file, model, collection, key does not exist (CLI exit 4)
  unsupported,        ///< well-formed, but this build or device cannot do it (CLI exit 5)
  out_of_memory,      ///< the memory budget or the device refused an allocation
  limit_exceeded,     ///< a stated limit (context length, depth, size) was passed
  cancelled,          ///< the caller cancelled (CLI exit 130)
  deadline_exceeded,  ///< the caller's deadline passed
  io,                 ///< the operating system refused a read or write
  network,            ///< a remote endpoint could not be reached or broke off
  rejected,           ///< a remote endpoint answered with a refusal (4xx, 5xx)
  conflict,           ///< stored state contradicts the request (another embedder, a locked workspace)
  interrupted,        ///< a graph's node waits for a person; not a failure, and the thread goes on when there is an answer
  internal,           ///< a defect in Corvid itself
};

/// The code's name as written in JSON output and logs: "bad_input", "not_found", …
std::string_view to_string(ErrorCode code) noexcept;

/// One failure: code, message, place, cause. Copying shares; thread-safe to read.
class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message);

  static Error invalid_argument(std::string message) { return {ErrorCode::invalid_argument, std::move(message)}; }
  static Error bad_input(std::string message) { return {ErrorCode::bad_input, std::move(message)}; }
  static Error not_found(std::string message) { return {ErrorCode::not_found, std::move(message)}; }
  static Error unsupported(std::string message) { return {ErrorCode::unsupported, std::move(message)}; }
  static Error out_of_memory(std::string message) { return {ErrorCode::out_of_memory, std::move(message)}; }
  static Error limit_exceeded(std::string message) { return {ErrorCode::limit_exceeded, std::move(message)}; }
  static Error cancelled(std::string message) { return {ErrorCode::cancelled, std::move(message)}; }
  static Error deadline_exceeded(std::string message) { return {ErrorCode::deadline_exceeded, std::move(message)}; }
  static Error io(std::string message) { return {ErrorCode::io, std::move(message)}; }
  static Error network(std::string message) { return {ErrorCode::network, std::move(message)}; }
  static Error rejected(std::string message) { return {ErrorCode::rejected, std::move(message)}; }
  static Error conflict(std::string message) { return {ErrorCode::conflict, std::move(message)}; }
  static Error interrupted(std::string message) { return {ErrorCode::interrupted, std::move(message)}; }
  static Error internal(std::string message) { return {ErrorCode::internal, std::move(message)}; }

  /// The same error with its place filled in. A place already set by a deeper layer is kept.
  Error at_file(std::string path) &&;
  Error at_offset(std::uint64_t byte_offset) &&;  ///< bytes from the start of the file or text
  Error at_key(std::string key) &&;               ///< metadata key, JSON pointer, tensor name, option
  Error caused_by(Error cause) &&;

  ErrorCode code() const noexcept;
  const std::string& message() const noexcept;
  const std::string& file() const noexcept;  ///< empty when unknown
  const std::string& key() const noexcept;   ///< empty when unknown
  std::optional<std::uint64_t> offset() const noexcept;
  const Error* cause() const noexcept;  ///< null at the root; borrowed from this error

  /// "message (file F, byte 12, key K): cause" on one line.
  std::string describe() const;

 private:
  struct Body;
  Body& own();  // detaches from other copies before a change
  std::shared_ptr<Body> body_;
};

}  // namespace corvid
