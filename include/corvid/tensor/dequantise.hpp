// dequantise: a readable scalar reference that turns stored weights into f32. The oracle for every faster path.
//
//   std::vector<float> row(static_cast<std::size_t>(info->elements()));
//   CORVID_TRY_STATUS(dequantise(info->dtype, info->bytes, row));
#pragma once

#include <cstddef>
#include <span>

#include "corvid/base/result.hpp"
#include "corvid/tensor/dtype.hpp"

namespace corvid {

struct TensorInfo;

/// Converts `bytes` (f32, f16, bf16 or a block format, no alignment needed) to out.size() floats.
/// Errors: invalid_argument when the sizes do not belong together, unsupported for integer types.
Status dequantise(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

/// Looks at each block's scales (block formats) or each value (f32, f16, bf16) for NaN and infinity; reads the whole tensor.
/// Integer types pass. Errors: bad_input with the file, the tensor's name and the offset of the first bad number.
Status check_finite(const TensorInfo& tensor);

}  // namespace corvid
