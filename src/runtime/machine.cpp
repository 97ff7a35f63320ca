#include "machine.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>

namespace corvid {
namespace {

std::vector<int> allowed_processors() {
  std::vector<int> out;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int i = 0; i < CPU_SETSIZE; ++i) if (CPU_ISSET(i, &set)) out.push_back(i);
  } else {   // more than a set holds
    for (int i = 0; i < static_cast<int>(std::thread::hardware_concurrency()); ++i) out.push_back(i);
  }
  return out;
}

// The kernel's way to write a set: 0-3,8,10-11. Empty where there is no such file.
std::vector<bool> listed(const std::filesystem::path& file) {
  std::vector<bool> out;
  std::string text;
  std::ifstream(file) >> text;
  const char *at = text.data(), *const end = at + text.size();
  while (at < end) {
    unsigned first = 0;
    auto read = std::from_chars(at, end, first);
    if (read.ec != std::errc()) break;
    unsigned last = first;
    if (read.ptr < end && *read.ptr == '-') read = std::from_chars(read.ptr + 1, end, last);
    if (read.ec != std::errc() || last > 65'535) break;
    if (out.size() <= last) out.resize(last + 1);
    for (unsigned i = first; i <= last; ++i) out[i] = true;
    at = read.ptr < end ? read.ptr + 1 : end;
  }
  return out;
}

bool contains(const std::vector<bool>& set, int i) { return static_cast<std::size_t>(i) < set.size() && set[static_cast<std::size_t>(i)]; }

// Keeps those of `processors` for which `keep` holds, unless that is none.
template <class Keep>
void narrow(std::vector<int>& processors, Keep keep) {
  std::vector<int> kept;
  std::copy_if(processors.begin(), processors.end(), std::back_inserter(kept), keep);
  if (!kept.empty()) processors = std::move(kept);
}

}  // namespace

int usable_cores() {
  int cores = static_cast<int>(allowed_processors().size());
  std::ifstream quota("/sys/fs/cgroup/cpu.max");
  std::string limit;
  double period = 0;
  if (quota >> limit >> period && limit != "max" && period > 0) {
    const double allowed = std::strtod(limit.c_str(), nullptr) / period;
    if (allowed > 0) cores = std::min(cores, static_cast<int>(allowed + 0.999));
  }
  return std::max(cores, 1);
}

std::vector<int> compute_processors(const std::filesystem::path& devices) { return compute_processors(devices, allowed_processors(), usable_cores()); }

std::vector<int> compute_processors(const std::filesystem::path& devices, std::vector<int> allowed, int most) {
  std::vector<int> here;   // of the node with the most
  const auto nodes = listed(devices / "system/node/online");
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    if (!nodes[node]) continue;
    const auto set = listed(devices / "system/node" / ("node" + std::to_string(node)) / "cpulist");
    std::vector<int> there;
    std::copy_if(allowed.begin(), allowed.end(), std::back_inserter(there), [&](int i) { return contains(set, i); });
    if (there.size() > here.size()) here = std::move(there);
  }
  if (!here.empty()) allowed = std::move(here);

  const auto slow = listed(devices / "cpu_atom/cpus");   // Intel's hybrid processors
  narrow(allowed, [&](int i) { return !contains(slow, i); });
  std::vector<int> capacities;                           // of the largest core 1,024: Arm's
  for (const int i : allowed) {
    int capacity = 1024;
    std::ifstream(devices / "system/cpu" / ("cpu" + std::to_string(i)) / "cpu_capacity") >> capacity;
    capacities.push_back(capacity > 0 ? capacity : 1024);
  }
  const int largest = capacities.empty() ? 0 : *std::max_element(capacities.begin(), capacities.end());
  std::size_t at = 0;
  narrow(allowed, [&](int) { return capacities[at++] * 2 >= largest; });
  if (allowed.size() > static_cast<std::size_t>(std::max(most, 1))) allowed.resize(static_cast<std::size_t>(std::max(most, 1)));
  return allowed;
}

std::uint64_t usable_memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  std::uint64_t bytes = pages > 0 && size > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(size)
                                              : std::numeric_limits<std::uint64_t>::max();
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  std::uint64_t cgroup = 0;
  if (limit >> cgroup && cgroup > 0) bytes = std::min(bytes, cgroup);  // "max" does not read as a number
  return bytes;
}

}  // namespace corvid
