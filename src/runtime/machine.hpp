// What this process may use of the machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace corvid {

/// Cores in the affinity mask, cut to the cgroup's CPU quota (rounded up); at least 1.
int usable_cores();
/// The processors that share a computation best, of those this process may run on, in order; at most as many as the quota allows. Of several
/// NUMA nodes that with the most of them (weights lie in one node's memory, and the others would wait for it); no efficiency cores where
/// there are others (who shares work in equal parts waits for the slowest). `devices` is the kernel's description of the machine; what it
/// does not tell leaves all in.
std::vector<int> compute_processors(const std::filesystem::path& devices = "/sys/devices");
std::vector<int> compute_processors(const std::filesystem::path& devices, std::vector<int> allowed, int most);
/// Physical memory or the cgroup's limit, the smaller.
std::uint64_t usable_memory_bytes();

}  // namespace corvid
