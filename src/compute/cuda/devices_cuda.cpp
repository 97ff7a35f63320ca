// What the driver says of its devices.
#include <fstream>

#include "cuda/status.hpp"
#include "cuda/stream_cuda.hpp"
#include "cuda/stream_impl.hpp"

namespace corvid::cuda {

namespace {

// cudaMemGetInfo counts page cache as used where the GPU shares the host's memory; the kernel knows what could be had.
std::uint64_t available_host_bytes() {
  std::ifstream info("/proc/meminfo");
  std::string name, unit;
  for (std::uint64_t kib = 0; info >> name >> kib;) {
    std::getline(info, unit);
    if (name == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

// The kernel module's own version, "580.159.04"; empty where the system does not show it.
std::string driver_release() {
  std::ifstream version("/sys/module/nvidia/version");
  std::string text;
  version >> text;
  return text;
}

}  // namespace

Result<int> device_count() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) return count;
  (void)cudaGetLastError();
  int driver = 0;
  (void)cudaDriverGetVersion(&driver);
  if (driver == 0) return fail(Error::unsupported("no NVIDIA driver is installed here (libcuda.so.1 is missing): install it, or choose the device \"cpu\""));
  if (code == cudaErrorInsufficientDriver) {
    return fail(Error::unsupported("the NVIDIA driver runs CUDA " + version_text(driver) + ", this build needs " + version_text(CUDART_VERSION) + ": install a newer driver"));
  }
  return fail(Error::unsupported(std::string("no CUDA device can be used: ") + (code == cudaSuccess ? "there is none" : cudaGetErrorString(code)) + "; choose the device \"cpu\""));
}

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

Result<std::uint64_t> free_device_bytes(int index) {
  CORVID_TRY_STATUS(checked(cudaSetDevice(index), "choosing the device"));
  std::size_t left = 0, total = 0;
  CORVID_TRY_STATUS(checked(cudaMemGetInfo(&left, &total), "asking for free memory"));
  int integrated = 0;
  (void)cudaDeviceGetAttribute(&integrated, cudaDevAttrIntegrated, index);
  if (integrated) if (const std::uint64_t host = available_host_bytes(); host > left) return host < total ? host : total;
  return left;
}

Result<std::vector<DeviceInfo>> list_devices() {
  CORVID_TRY(const int count, device_count());
  int driver = 0;
  CORVID_TRY_STATUS(checked(cudaDriverGetVersion(&driver), "asking for the driver"));
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    CORVID_TRY_STATUS(checked(cudaGetDeviceProperties(&properties, i), "asking for the device"));
    DeviceInfo info;
    info.device = Device{DeviceKind::cuda, i};
    info.name = properties.name;
    info.compute_major = properties.major;
    info.compute_minor = properties.minor;
    info.total_bytes = properties.totalGlobalMem;
    info.shares_host_memory = properties.integrated != 0;
    info.driver = driver_release();
    info.driver_cuda = version_text(driver);
    CORVID_TRY(info.free_bytes, free_device_bytes(i));
    devices.push_back(std::move(info));
  }
  return devices;
}

}  // namespace corvid::cuda
