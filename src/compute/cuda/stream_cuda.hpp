// The CUDA backend's stream and device list.
#pragma once

#include <memory>
#include <vector>

#include "corvid/compute/stream.hpp"

namespace corvid::cuda {

Result<std::shared_ptr<Stream>> open_stream(Device device);
Result<std::vector<DeviceInfo>> list_devices();

}  // namespace corvid::cuda
