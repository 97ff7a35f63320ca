// A NodeContext for tests of single nodes: no graph, no checkpointer.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "corvid/graphs/node.hpp"

namespace corvid::test {

class FakeNodeContext : public NodeContext {
 public:
  FakeNodeContext(Runtime& runtime, std::shared_ptr<const Schema> schema, std::vector<Value> values)
      : schema_(std::move(schema)), values_(std::move(values)), view_(*schema_, values_), runtime_(runtime) {}

  const StateView& state() const noexcept override { return view_; }
  Runtime& runtime() noexcept override { return runtime_; }
  const std::string& node() const noexcept override { return node_; }
  const std::string& thread_id() const noexcept override { return thread_; }
  const std::string& run_id() const noexcept override { return run_; }
  const std::string& checkpoint_ns() const noexcept override { return ns_; }
  const std::string& task_id() override { return task_; }
  std::int64_t step() const noexcept override { return 3; }
  int attempt() const noexcept override { return 2; }
  CancellationToken cancellation() const override { return source.token(); }
  void heartbeat() noexcept override { ++heartbeats; }
  void emit(Json value) override { emitted.push_back(std::move(value)); }
  void emit_message(Json token) override { emitted.push_back(std::move(token)); }
  Result<Json> interrupt(Json, const InterruptOptions&) override { return fail(Error::interrupted("asked")); }
  Result<Json> interrupt_decision(Json, const InterruptOptions&) override { return fail(Error::interrupted("asked")); }
  const std::string& trace_parent() const noexcept override { return parent; }

  CancellationSource source;
  std::string parent;
  std::atomic<int> heartbeats{0};
  std::vector<Json> emitted;

 private:
  std::shared_ptr<const Schema> schema_;
  std::vector<Value> values_;
  StateView view_;
  Runtime& runtime_;
  std::string node_ = "score", thread_ = "t1", run_ = "r1", ns_, task_ = "task-7";
};

}  // namespace corvid::test
