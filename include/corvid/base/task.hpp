// Task<T>: a coroutine that ends in a Result<T>. It starts when awaited, spawned, or handed to Runtime::wait.
//
//   Task<int> twice(Runtime& rt) { CORVID_CO_TRY(int n, co_await fetch(rt)); co_return n * 2; }
//
// g++ 12.2 miscompiles temporaries inside a co_await expression: name the argument, then std::move it in.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "corvid/base/result.hpp"

namespace corvid {

template <class T>
using Task = boost::asio::awaitable<Result<T>>;

}  // namespace corvid
