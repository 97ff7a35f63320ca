// A stored row as f32, block by block as the GGUF formats define it.
#pragma once

#include <cstddef>

#include "corvid/tensor/dtype.hpp"

namespace corvid::ref {

/// n elements (whole blocks) of a float or block dtype; out [n].
void dequantise_row(DType dtype, const std::byte* bytes, std::size_t n, float* out);

}  // namespace corvid::ref
