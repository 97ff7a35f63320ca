// Stream: a queue of work on one device, and what a device machine has.
//
//   CORVID_TRY(auto access, open_device(runtime, Device{DeviceKind::cuda, 0}));
//   OpContext ctx; ctx.device = …; ctx.stream = access.stream.get();
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/tensor/device.hpp"

namespace corvid {

/// Queued work that can be queued again as one piece. Made and launched by one Stream; holds no data of its own.
class StepGraph {
 public:
  virtual ~StepGraph() = default;
};

/// Work runs in the order in which it was queued. Any thread may queue, one at a time; errors of work that ran come out of the next
/// call that waits. Shared: buffers and weights keep their stream alive.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  /// Errors: unsupported (the CPU, CUDA not compiled in, no driver, no such device or no code for it, cuBLASLt not found), each with what to do.
  static Result<std::shared_ptr<Stream>> open(Device device);
  virtual ~Stream() = default;

  virtual Device device() const noexcept = 0;
  /// Waits until all that was queued has run. Errors: internal (a kernel failed).
  virtual Status wait() = 0;
  /// Takes the memory that the ops need inside their calls, for steps of at most `rows` rows over the weights prepared so far (tag
  /// "scratch"); ops allocate nothing after this. Errors: out_of_memory.
  virtual Status plan(std::int64_t rows, MemoryBudget& budget) = 0;

  /// What is queued between the two calls is recorded, not run.
  virtual Status begin_capture() = 0;
  virtual Result<std::unique_ptr<StepGraph>> end_capture() = 0;
  virtual Status launch(StepGraph& graph) = 0;
};

/// One accelerator as its driver describes it.
struct DeviceInfo {
  Device device{};
  std::string name;
  int compute_major = 0, compute_minor = 0;
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;    ///< on machines whose GPU shares the host's memory: what the host has available
  bool shares_host_memory = false;
  std::string driver;              ///< its release, "580.159.04"; empty where the system does not show it
  std::string driver_cuda;         ///< the newest CUDA that it runs, "13.0"
};

bool cuda_compiled_in() noexcept;
/// Opens the driver. Errors: unsupported (CUDA not compiled in, no driver, no device), saying what to do.
Result<std::vector<DeviceInfo>> list_devices();

/// A device with the budget that its memory is drawn from: the runtime's own for the CPU (stream null), else one for each device.
struct DeviceAccess {
  std::shared_ptr<Stream> stream;
  MemoryBudget* memory = nullptr;  ///< the runtime's
};
/// Errors: as Stream::open.
Result<DeviceAccess> open_device(Runtime& runtime, Device device);

}  // namespace corvid
