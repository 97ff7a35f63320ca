#include "corvid/compute/stream.hpp"

#include "device_stream.hpp"

#if defined(CORVID_WITH_CUDA)
#include "cuda/stream_cuda.hpp"
#endif

namespace corvid {

bool cuda_compiled_in() noexcept {
#if defined(CORVID_WITH_CUDA)
  return true;
#else
  return false;
#endif
}

namespace {

[[maybe_unused]] Error not_compiled_in() {
  return Error::unsupported("CUDA is not compiled into this build: install the CUDA toolkit and build with the preset cuda, or choose the device \"cpu\"");
}

}  // namespace

Result<std::shared_ptr<Stream>> Stream::open(Device device) {
  if (device.is_cpu()) return fail(Error::unsupported("the CPU needs no stream"));
#if defined(CORVID_WITH_CUDA)
  return cuda::open_stream(device);
#else
  return fail(not_compiled_in());
#endif
}

Result<std::vector<DeviceInfo>> list_devices() {
#if defined(CORVID_WITH_CUDA)
  return cuda::list_devices();
#else
  return fail(not_compiled_in());
#endif
}

Result<DeviceAccess> open_device(Runtime& runtime, Device device) {
  DeviceAccess access;
  if (device.is_cpu()) {
    access.memory = &runtime.memory();
    return access;
  }
  CORVID_TRY(access.stream, Stream::open(device));
  CORVID_TRY(const std::uint64_t free_bytes, static_cast<DeviceStream*>(access.stream.get())->free_bytes());
  access.memory = &runtime.device_memory(device.index, free_bytes);
  return access;
}

namespace detail {

Result<DeviceStream*> device_stream(const OpContext& ctx, const char* op) {
  if (ctx.path == OpPath::reference) return fail(Error::unsupported(std::string(op) + ": the reference runs on the CPU only"));
  auto* stream = static_cast<DeviceStream*>(ctx.stream);  // Stream::open makes nothing else
  if (stream && stream->device() == ctx.device) return stream;
  return fail(Error::unsupported(std::string(op) + " on " + to_string(ctx.device) + ": the context has no stream of that device; open one (open_device), or choose the device \"cpu\""));
}

}  // namespace detail
}  // namespace corvid
