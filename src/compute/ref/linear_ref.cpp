#include <span>
#include <stdexcept>
#include <vector>

#include "corvid/tensor/dequantise.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"
#include "weight_impl.hpp"

namespace corvid::ref {

void weight_row(const Weight& w, std::int64_t row, float* out) {
  const Weight::Impl& impl = w.impl();
  const std::span values(out, static_cast<std::size_t>(impl.cols));
  if (auto done = dequantise(impl.dtype, {impl.row(row), impl.row_bytes}, values); !done) throw std::logic_error(done.error().describe());
}

void linear(ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate) {
  std::vector<float> row(static_cast<std::size_t>(w.cols()));
  for (std::int64_t o = 0; o < w.rows(); ++o) {
    weight_row(w, o, row.data());
    for (std::int64_t r = 0; r < x.dim(0); ++r) {
      const float* in = detail::row_at(x, r);
      double sum = bias ? static_cast<double>(bias.vector().as<const float>()[o]) : 0.0;
      for (std::size_t i = 0; i < row.size(); ++i) sum += static_cast<double>(row[i]) * static_cast<double>(in[i]);
      float& out = detail::row_at(y, r)[o];
      out = accumulate ? out + static_cast<float>(sum) : static_cast<float>(sum);
    }
  }
}

void embedding(ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) {
  std::vector<float> row(static_cast<std::size_t>(table.cols()));
  for (std::int64_t i = 0; i < ids.dim(0); ++i) {
    weight_row(table, ids.as<const std::int32_t>()[i], row.data());
    float* out = detail::row_at(y, i);
    for (std::size_t c = 0; c < row.size(); ++c) out[c] = (accumulate ? out[c] : 0.0f) + scale * row[c];
  }
}

}  // namespace corvid::ref
