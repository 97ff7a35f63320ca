// Result<T>: a value or an Error. Status: success or an Error.
//
//   Result<int> parse(std::string_view text);
//   CORVID_TRY(int n, parse(text));      // returns the error to our caller
//   CORVID_TRY_STATUS(store(n));         // the same for a Status
//
// Inside a coroutine use CORVID_CO_TRY / CORVID_CO_TRY_STATUS.
#pragma once

#include <tl/expected.hpp>

#include "corvid/base/error.hpp"

namespace corvid {

template <class T>
using Result = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;

/// `return fail(Error::…)` where a Result of any type is expected.
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace corvid

#define CORVID_CONCAT_(a, b) a##b
#define CORVID_CONCAT(a, b) CORVID_CONCAT_(a, b)
#define CORVID_TRY_IMPL_(tmp, ret, decl, ...)                 \
  auto tmp = (__VA_ARGS__);                                   \
  if (!tmp) ret ::corvid::fail(std::move(tmp).error());       \
  decl = std::move(*tmp)
#define CORVID_STATUS_IMPL_(tmp, ret, ...)                    \
  do {                                                        \
    auto tmp = (__VA_ARGS__);                                 \
    if (!tmp) ret ::corvid::fail(std::move(tmp).error());     \
  } while (false)
#define CORVID_TRY(decl, ...) CORVID_TRY_IMPL_(CORVID_CONCAT(corvid_try_, __LINE__), return, decl, __VA_ARGS__)
#define CORVID_TRY_STATUS(...) CORVID_STATUS_IMPL_(CORVID_CONCAT(corvid_try_, __LINE__), return, __VA_ARGS__)
#define CORVID_CO_TRY(decl, ...) CORVID_TRY_IMPL_(CORVID_CONCAT(corvid_try_, __LINE__), co_return, decl, __VA_ARGS__)
#define CORVID_CO_TRY_STATUS(...) CORVID_STATUS_IMPL_(CORVID_CONCAT(corvid_try_, __LINE__), co_return, __VA_ARGS__)
