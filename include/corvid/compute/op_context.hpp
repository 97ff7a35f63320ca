// OpContext: where and how an op runs. Passed to every op; holds no data of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "corvid/runtime/compute_pool.hpp"
#include "corvid/tensor/device.hpp"

namespace corvid {

class Stream;   // a CUDA stream; null on the CPU
class WeightArena;

/// What matrix products may round. Residuals, norms, softmax and pooling are f32 in both.
enum class Precision : std::uint8_t {
  fast,  ///< int8 or bf16 inside matrix products, KV in f16
  f32,   ///< everything in f32 from the dequantised weights, KV in f32
};

/// Which implementation of an op runs. `reference` is the readable oracle, for tests.
enum class OpPath : std::uint8_t { optimised, reference };

struct OpContext {
  Device device{};
  Precision precision = Precision::fast;
  OpPath path = OpPath::optimised;
  ComputePool* pool = nullptr;   ///< borrowed; null runs on the calling thread
  Stream* stream = nullptr;      ///< borrowed; ops on a device are queued here and return before they ran
  WeightArena* arena = nullptr;  ///< borrowed; where prepare_weight puts repacked weights on the CPU; null gives each its own memory
  std::span<std::byte> scratch;  ///< borrowed; host memory that an op may use until it returns; ops that need more allocate
};

}  // namespace corvid
