#include "cuda/stream_cuda.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cuda/status.hpp"
#include "cuda/stream_impl.hpp"

namespace corvid::cuda {

namespace {

constexpr std::size_t kStaging = std::size_t{4} << 20;
constexpr std::size_t kLtMemory = std::size_t{32} << 20;
// A larger matrix (an output matrix of a large vocabulary) is multiplied as it is stored: it meets few rows.
constexpr std::int64_t kMostDequantised = std::int64_t{1} << 27;

std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

class Graph final : public StepGraph {
 public:
  explicit Graph(cudaGraphExec_t graph) : exec(graph) {}
  ~Graph() override { (void)cudaGraphExecDestroy(exec); }
  cudaGraphExec_t exec;
};

}  // namespace

Result<std::shared_ptr<Stream>> open_stream(Device device) {
  CORVID_TRY(auto stream, CudaStream::make(device));
  return std::shared_ptr<Stream>(std::move(stream));
}

Result<std::shared_ptr<CudaStream>> CudaStream::make(Device device) {
  CORVID_TRY(const int count, device_count());
  if (device.index < 0 || device.index >= count) {
    return fail(Error::unsupported("there is no " + to_string(device) + ": this machine has " + std::to_string(count) + " CUDA device" + (count == 1 ? "" : "s") + ", counted from cuda:0"));
  }
  std::shared_ptr<CudaStream> stream(new CudaStream(device));
  CORVID_TRY_STATUS(stream->choose());
  if (const cudaError_t code = has_code(); code != cudaSuccess) {
    (void)cudaGetLastError();
    int major = 0, minor = 0;
    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index);
    (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device.index);
    if (code != cudaErrorNoKernelImageForDevice && code != cudaErrorInvalidDeviceFunction) CORVID_TRY_STATUS(checked(code, "looking for the kernels"));
    return fail(Error::unsupported("this build has no code for " + to_string(device) + ", whose compute capability is " + std::to_string(major) + "." + std::to_string(minor) +
                                   ": build with -DCORVID_CUDA_ARCHITECTURES=" + std::to_string(major * 10 + minor)));
  }
  int pools = 0;
  (void)cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, device.index);
  if (!pools) return fail(Error::unsupported(to_string(device) + " has no stream-ordered allocation; a newer driver or device is needed"));
  CORVID_TRY(stream->lt_, CublasLt::open());
  // For tests of running out of memory: the allocation of this number fails.
  if (const char* after = std::getenv("CORVID_TEST_FAIL_DEVICE_ALLOCATION")) stream->allocations_until_failure_ = std::atol(after);
  CORVID_TRY_STATUS(checked(cudaStreamCreateWithFlags(&stream->stream_, cudaStreamNonBlocking), "making a stream"));
  for (Half& half : stream->halves_) {
    const cudaError_t code = stream->made_to_fail() ? cudaErrorMemoryAllocation : cudaHostAlloc(&half.pinned, kStaging, cudaHostAllocDefault);
    CORVID_TRY_STATUS(checked(code, "pinning host memory"));
    CORVID_TRY_STATUS(checked(cudaEventCreateWithFlags(&half.free_again, cudaEventDisableTiming), "making an event"));
  }
  if (stream->lt_.create(&stream->handle_) != CUBLAS_STATUS_SUCCESS) return fail(Error::out_of_memory("cuBLASLt has no room for its handle on " + to_string(device)));
  return stream;
}

CudaStream::~CudaStream() {
  (void)choose();
  if (scratch_) deallocate(scratch_);
  if (stream_) (void)cudaStreamSynchronize(stream_);
  if (handle_) (void)lt_.destroy(handle_);
  for (Half& half : halves_) {
    if (half.free_again) (void)cudaEventDestroy(half.free_again);
    if (half.pinned) (void)cudaFreeHost(half.pinned);
  }
  if (stream_) (void)cudaStreamDestroy(stream_);
}

Status CudaStream::choose() { return checked(cudaSetDevice(device_.index), "choosing the device"); }

Status CudaStream::wait() {
  CORVID_TRY_STATUS(choose());
  return checked(cudaStreamSynchronize(stream_), "waiting for the device");
}

bool CudaStream::made_to_fail() { return allocations_until_failure_ >= 0 && allocations_until_failure_-- == 0; }

Result<std::byte*> CudaStream::allocate(std::uint64_t bytes) {
  CORVID_TRY_STATUS(choose());
  void* memory = nullptr;
  const cudaError_t code = made_to_fail() ? cudaErrorMemoryAllocation : cudaMallocAsync(&memory, bytes, stream_);
  CORVID_TRY_STATUS(checked(code, ("allocating " + std::to_string(bytes) + " bytes").c_str()));
  return static_cast<std::byte*>(memory);
}

void CudaStream::deallocate(std::byte* memory) noexcept {
  (void)cudaSetDevice(device_.index);
  (void)cudaFreeAsync(memory, stream_);
}

Status CudaStream::upload(void* to, const void* from, std::size_t bytes) {
  CORVID_TRY_STATUS(choose());
  std::lock_guard lock(staging_mutex_);
  for (std::size_t at = 0; at < bytes;) {
    if (filled_ == kStaging) {
      CORVID_TRY_STATUS(checked(cudaEventRecord(halves_[half_].free_again, stream_), "marking an upload"));
      half_ = 1 - half_;
      filled_ = 0;
      CORVID_TRY_STATUS(checked(cudaEventSynchronize(halves_[half_].free_again), "waiting for an upload"));
    }
    const std::size_t size = std::min(kStaging - filled_, bytes - at);
    std::byte* const pinned = static_cast<std::byte*>(halves_[half_].pinned) + filled_;
    std::memcpy(pinned, static_cast<const std::byte*>(from) + at, size);
    CORVID_TRY_STATUS(checked(cudaMemcpyAsync(static_cast<std::byte*>(to) + at, pinned, size, cudaMemcpyHostToDevice, stream_), "uploading"));
    at += size;
    filled_ = std::min(kStaging, (filled_ + size + 63) / 64 * 64);
  }
  return {};
}

Status CudaStream::download(void* to, const void* from, std::size_t bytes) {
  CORVID_TRY_STATUS(choose());
  CORVID_TRY_STATUS(checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "downloading"));
  return checked(cudaStreamSynchronize(stream_), "waiting for the device");
}

Status CudaStream::copy(void* to, const void* from, std::size_t bytes) {
  CORVID_TRY_STATUS(choose());
  return checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying");
}

void CudaStream::note_matrix(DType stored, std::int64_t rows, std::int64_t cols) {
  widest_ = std::max(widest_, cols);
  if (stored != DType::bf16 && rows * cols <= kMostDequantised) largest_ = std::max(largest_, rows * cols);
}

Status CudaStream::plan(std::int64_t rows, MemoryBudget& budget) {
  CORVID_TRY_STATUS(choose());
  const std::int64_t rounded = aligned(rows * widest_ * 2), dequantised = aligned(largest_ * 2);
  const std::uint64_t bytes = static_cast<std::uint64_t>(rounded + dequantised) + kLtMemory;
  if (scratch_) deallocate(scratch_);
  scratch_ = nullptr;
  scratch_held_ = Reservation();
  planned_rows_ = 0;
  CORVID_TRY(Reservation held, budget.reserve(bytes, "scratch"));
  CORVID_TRY(scratch_, allocate(bytes));
  scratch_held_ = std::move(held);
  lt_memory_ = scratch_;
  rounded_ = lt_memory_ + kLtMemory;
  dequantised_ = rounded_ + rounded;
  planned_rows_ = rows;
  planned_width_ = widest_;
  planned_matrix_ = largest_;
  return {};
}

Status CudaStream::begin_capture() {
  CORVID_TRY_STATUS(choose());
  return checked(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a step");
}

Result<std::unique_ptr<StepGraph>> CudaStream::end_capture() {
  cudaGraph_t graph = nullptr;
  CORVID_TRY_STATUS(checked(cudaStreamEndCapture(stream_, &graph), "recording a step"));
  cudaGraphExec_t exec = nullptr;
  const cudaError_t code = cudaGraphInstantiate(&exec, graph, 0);
  (void)cudaGraphDestroy(graph);
  CORVID_TRY_STATUS(checked(code, "making a step's graph"));
  return std::unique_ptr<StepGraph>(std::make_unique<Graph>(exec));
}

Status CudaStream::launch(StepGraph& graph) {
  CORVID_TRY_STATUS(choose());
  return checked(cudaGraphLaunch(static_cast<Graph&>(graph).exec, stream_), "queueing a step's graph");
}

}  // namespace corvid::cuda
