#include "corvid/graphs/process.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "corvid/runtime/runtime.hpp"
#include "graphs/run/process_child.hpp"

namespace corvid {
namespace graphs {
namespace {

// Ends the program with the coroutine that waits for it, also where that one is destroyed unfinished with its executor.
class Held {
 public:
  explicit Held(std::shared_ptr<ProcessChild> child) : child_(std::move(child)) {}
  ~Held() { child_->abandon(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ProcessChild* operator->() const { return child_.get(); }
  std::weak_ptr<ProcessChild> weak() const { return child_; }

 private:
  const std::shared_ptr<ProcessChild> child_;
};

}  // namespace

Task<ProcessResult> run_process(Runtime& runtime, ProcessRequest request, CancellationToken token, WatchBy watch) {
  CORVID_CO_TRY_STATUS(check(request));
  CORVID_CO_TRY_STATUS(token.check());
  auto deadline = token.deadline();
  if (request.timeout.count() > 0) {
    const auto own = ProcessChild::Clock::now() + request.timeout;
    deadline = deadline ? std::min(*deadline, own) : own;
  }
  const std::string name = request.command.front();
  const Held child(std::make_shared<ProcessChild>(runtime.io_context(), std::move(request), watch));
  const auto cancelled = token.on_cancel([weak = child.weak(), name] {
    if (auto alive = weak.lock()) {
      auto strand = alive->strand();
      boost::asio::post(strand, [alive = std::move(alive), name] {
        alive->stop(Error::cancelled("the caller cancelled; the program '" + name + "' was ended"), true);
      });
    }
  });
  auto body = child->run(deadline);
  co_await boost::asio::co_spawn(child->strand(), std::move(body), boost::asio::use_awaitable);
  if (const std::string said = child->last_words(); !said.empty()) runtime.log(LogLevel::info, "process", name + ": " + said);
  co_return child->result();
}

}  // namespace graphs

Task<ProcessResult> run_process(Runtime& runtime, ProcessRequest request, CancellationToken token) {
  return graphs::run_process(runtime, std::move(request), std::move(token), graphs::WatchBy::pidfd);
}

}  // namespace corvid
