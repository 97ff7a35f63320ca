// What this process may use of the machine.
#pragma once

#include <cstdint>

namespace corvid {

/// Cores in the affinity mask, cut to the cgroup's CPU quota (rounded up); at least 1.
int usable_cores();
/// Physical memory or the cgroup's limit, the smaller.
std::uint64_t usable_memory_bytes();

}  // namespace corvid
