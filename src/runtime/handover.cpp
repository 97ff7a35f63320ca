#include "handover.hpp"

#include <memory>
#include <utility>

#include "relax.hpp"

namespace corvid {
namespace {

constexpr int kLooksBetweenClocks = 32;

}  // namespace

bool Handover::offer(Job& job) {
  Job* expected = &looking_;
  if (slot_.load(std::memory_order_relaxed) != expected) return false;
  auto given = std::make_unique<Job>(std::move(job));
  if (slot_.compare_exchange_strong(expected, given.get(), std::memory_order_acq_rel)) {
    given.release();                                // look() owns it now
    return true;
  }
  job = std::move(*given);
  return false;
}

bool Handover::begin() {
  Job* expected = nullptr;
  return slot_.compare_exchange_strong(expected, &looking_, std::memory_order_acq_rel);
}

Handover::Job Handover::look(std::chrono::steady_clock::duration time) {
  const auto end = std::chrono::steady_clock::now() + time;
  do {
    for (int i = 0; i < kLooksBetweenClocks && slot_.load(std::memory_order_relaxed) == &looking_; ++i) relax();
  } while (slot_.load(std::memory_order_relaxed) == &looking_ && std::chrono::steady_clock::now() < end);
  Job* found = slot_.exchange(nullptr, std::memory_order_acq_rel);
  if (found == &looking_) return {};
  const std::unique_ptr<Job> given(found);
  return std::move(*given);
}

}  // namespace corvid
