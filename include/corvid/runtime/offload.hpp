// offload: runs blocking or long work on the runtime's blocking pool and resumes the coroutine with its result.
//
//   auto job = [path] { return sha256_file(path); };          // name it, then move it in (g++ 12.2)
//   CORVID_CO_TRY(auto digest, co_await offload(runtime, std::move(job)));
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <type_traits>
#include <utility>

#include "corvid/base/task.hpp"
#include "corvid/runtime/runtime.hpp"

namespace corvid {

/// `job` returns a Result<T> or Status; an exception it throws travels to the awaiting coroutine.
template <class F>
auto offload(Runtime& runtime, F job) -> boost::asio::awaitable<std::invoke_result_t<F&>> {
  using R = std::invoke_result_t<F&>;
  // Carried out through an optional, so that R need not be default-constructible, which co_spawn asks of an awaitable's value.
  std::optional<R> result;
  auto body = [](F* work, std::optional<R>* out) -> boost::asio::awaitable<void> {
    out->emplace((*work)());
    co_return;
  };
  auto task = body(&job, &result);
  co_await boost::asio::co_spawn(runtime.blocking_pool(), std::move(task), boost::asio::use_awaitable);
  co_return std::move(*result);
}

}  // namespace corvid
