// CUDA's error codes as Status.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "corvid/base/result.hpp"

namespace corvid::cuda {

inline Status checked(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return {};
  (void)cudaGetLastError();  // the error is ours now; the next call starts clean where the device still works
  const std::string message = std::string(what) + ": " + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) + ")";
  if (code == cudaErrorMemoryAllocation) return fail(Error::out_of_memory(message + "; take a smaller model or context, or free device memory"));
  return fail(Error::internal("CUDA, " + message));
}

/// Whether the kernel launches since the last check were taken.
inline Status launched(const char* op) { return checked(cudaGetLastError(), op); }

}  // namespace corvid::cuda
