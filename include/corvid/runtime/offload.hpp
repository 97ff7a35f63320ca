// offload: runs blocking or long work on the runtime's blocking pool and resumes the coroutine with its result.
//
//   auto job = [path] { return sha256_file(path); };          // name it, then move it in (g++ 12.2)
//   CORVID_CO_TRY(auto digest, co_await offload(runtime, std::move(job)));
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "corvid/base/task.hpp"
#include "corvid/runtime/runtime.hpp"

namespace corvid {

/// `job` returns a Result<T> or Status; an exception it throws travels to the awaiting coroutine.
template <class F>
auto offload(Runtime& runtime, F job) -> boost::asio::awaitable<std::invoke_result_t<F&>> {
  // Not by co_spawn on the pool: its coroutine is posted a second time when it ends, which wakes another of the pool's threads.
  std::optional<std::invoke_result_t<F&>> result;
  std::exception_ptr thrown;
  auto work = [&job, &result, &thrown] {
    try {
      result.emplace(job());
    } catch (...) {
      thrown = std::current_exception();
    }
  };
  auto initiate = [&runtime, &work](auto handler) {
    auto busy = boost::asio::make_work_guard(boost::asio::get_associated_executor(handler));
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    auto report = [shared = std::move(shared), busy = std::move(busy)]() mutable {
      // Nothing of the executor stays here: it may be gone as soon as the coroutine is.
      const auto executor = busy.get_executor();
      auto resume = [handler = std::move(*shared), busy = std::move(busy)]() mutable { std::move(handler)(); };
      boost::asio::post(executor, std::move(resume));
    };
    runtime.post_blocking(work, std::move(report));
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void()>(std::move(initiate), boost::asio::use_awaitable);
  if (thrown) std::rethrow_exception(thrown);
  co_return std::move(*result);
}

}  // namespace corvid
