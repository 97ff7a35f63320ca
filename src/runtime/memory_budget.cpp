#include "corvid/runtime/memory_budget.hpp"

#include <map>
#include <mutex>

namespace corvid {

struct MemoryBudget::State {
  std::uint64_t limit = 0;
  std::string advice;
  mutable std::mutex mutex;
  std::uint64_t used = 0;
  std::map<std::string, std::uint64_t, std::less<>> owners;

  // Changes what `owner` holds from `before` to `after`.
  Status change(const std::string& owner, std::uint64_t before, std::uint64_t after) {
    std::lock_guard lock(mutex);
    if (after > before && after - before > limit - used) {
      std::string held;
      for (const auto& [name, bytes] : owners) {
        if (bytes > 0) held += (held.empty() ? "" : ", ") + name + " " + std::to_string(bytes);
      }
      return fail(Error::out_of_memory(owner + " needs " + std::to_string(after - before) + " more bytes; the budget is " +
                                       std::to_string(limit) + " bytes, of which " + std::to_string(used) + " are held (" + held +
                                       "). " + advice + ", or take a smaller model or context"));
    }
    used = used - before + after;
    owners[owner] += after - before;  // modular, so shrinking works too
    return {};
  }
};

struct Reservation::Account {
  std::shared_ptr<MemoryBudget::State> state;
  std::string owner;
};

Reservation::Reservation(Reservation&& other) noexcept : account_(std::move(other.account_)), bytes_(std::exchange(other.bytes_, 0)) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    Reservation old(std::move(*this));
    account_ = std::move(other.account_);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

Reservation::~Reservation() {
  if (account_ && bytes_ > 0) (void)account_->state->change(account_->owner, bytes_, 0);  // giving back cannot fail
}

Status Reservation::resize(std::uint64_t bytes) {
  if (!account_) {
    if (bytes == 0) return {};
    return fail(Error::invalid_argument("an empty reservation cannot grow; ask the budget for one"));
  }
  CORVID_TRY_STATUS(account_->state->change(account_->owner, bytes_, bytes));
  bytes_ = bytes;
  return {};
}

MemoryBudget::MemoryBudget(std::uint64_t limit_bytes, std::string advice) : state_(std::make_shared<State>()) {
  state_->limit = limit_bytes;
  state_->advice = std::move(advice);
}

Result<Reservation> MemoryBudget::reserve(std::uint64_t bytes, std::string_view owner) {
  Reservation reservation;
  reservation.account_ = std::make_shared<Reservation::Account>(Reservation::Account{state_, std::string(owner)});
  CORVID_TRY_STATUS(reservation.resize(bytes));
  return reservation;
}

std::uint64_t MemoryBudget::limit_bytes() const noexcept { return state_->limit; }

std::uint64_t MemoryBudget::used_bytes() const noexcept {
  std::lock_guard lock(state_->mutex);
  return state_->used;
}

std::vector<std::pair<std::string, std::uint64_t>> MemoryBudget::by_owner() const {
  std::lock_guard lock(state_->mutex);
  std::vector<std::pair<std::string, std::uint64_t>> held;
  for (const auto& [owner, bytes] : state_->owners) {
    if (bytes > 0) held.emplace_back(owner, bytes);
  }
  return held;
}

}  // namespace corvid
