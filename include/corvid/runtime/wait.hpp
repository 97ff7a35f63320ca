// Runtime::wait: runs a task to its end from ordinary code.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <future>
#include <stdexcept>

#include "corvid/runtime/runtime.hpp"

namespace corvid {

template <class T>
Result<T> Runtime::wait(Task<T> task) {
  auto executor = io_context().get_executor();
  if (executor.running_in_this_thread()) {
    throw std::logic_error("Runtime::wait on the I/O thread would never return: co_await the task instead");
  }
  std::promise<Result<T>> promise;
  auto future = promise.get_future();
  // Wrapped so that T need not be default-constructible, which co_spawn asks of an awaitable's value.
  auto body = [](Task<T> inner, std::promise<Result<T>>* out) -> boost::asio::awaitable<void> {
    try {
      Result<T> result = co_await std::move(inner);
      out->set_value(std::move(result));
    } catch (...) {
      out->set_exception(std::current_exception());
    }
  };
  auto wrapped = body(std::move(task), &promise);
  boost::asio::co_spawn(executor, std::move(wrapped), boost::asio::detached);
  return future.get();
}

}  // namespace corvid
