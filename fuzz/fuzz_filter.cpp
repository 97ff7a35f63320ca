// A filter of any text, evaluated over no rows.
#include "corvid/retrieval/filter.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  struct None final : corvid::FilterColumns {
    std::size_t rows() const override { return 0; }
    const corvid::FilterColumn* column(std::string_view) const override { return nullptr; }
  } none;
  if (const auto filter = corvid::Filter::parse({reinterpret_cast<const char*>(data), size})) (void)filter->evaluate(none);
  return 0;
}
