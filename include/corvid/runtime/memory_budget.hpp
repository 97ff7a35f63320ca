// MemoryBudget: one hard limit for weights, KV pages, indexes and scratch, with an owner's name on every byte.
//
//   CORVID_TRY(auto bytes, budget.reserve(size_bytes, "kv"));   // returned to the budget when destroyed
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid {

class MemoryBudget;

/// Bytes held of a budget. Move-only; gives them back when destroyed. It counts, it does not allocate.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  std::uint64_t bytes() const noexcept { return bytes_; }
  /// Grows or shrinks in place. Errors: out_of_memory; the old size is kept then.
  Status resize(std::uint64_t bytes);

 private:
  friend class MemoryBudget;
  struct Account;
  std::shared_ptr<Account> account_;
  std::uint64_t bytes_ = 0;
};

/// Thread-safe. Outlives nothing: reservations keep the account alive.
class MemoryBudget {
 public:
  /// `advice`: what raises the limit, for the error.
  explicit MemoryBudget(std::uint64_t limit_bytes, std::string advice = "Raise RuntimeOptions::memory_budget_bytes");

  /// Errors: out_of_memory, with the limit, what each owner holds, and the advice.
  Result<Reservation> reserve(std::uint64_t bytes, std::string_view owner);

  std::uint64_t limit_bytes() const noexcept;
  std::uint64_t used_bytes() const noexcept;
  /// Bytes held per owner tag ("weights", "kv", "index", "scratch", …), sorted by name.
  std::vector<std::pair<std::string, std::uint64_t>> by_owner() const;

 private:
  friend class Reservation;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace corvid
