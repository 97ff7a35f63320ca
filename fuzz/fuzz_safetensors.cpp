// ModelFile::open on a safetensors file of any bytes: a typed error or a checked file, never a crash.
#include "corvid/tensor/model_file.hpp"
#include "fuzz/fuzz_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = corvid::ModelFile::open(fuzz_file(data, size, ".safetensors"));
  if (file && (*file)->tensors().size() > size) __builtin_trap();  // more tensors than bytes
  return 0;
}
