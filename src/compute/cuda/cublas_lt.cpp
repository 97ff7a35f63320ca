#include "cuda/cublas_lt.hpp"

#include <dlfcn.h>

#include <string>

namespace corvid::cuda {

Result<CublasLt> CublasLt::open() {
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  const std::string places[] = {name, "/usr/local/cuda/lib64/" + name};
  void* library = nullptr;
  for (const auto& place : places) if (!library) library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    return fail(Error::unsupported("cuBLASLt cannot be opened (" + places[0] + ", " + places[1] + "): install CUDA's libraries, or name their folder in LD_LIBRARY_PATH"));
  }
  CublasLt lt;
  bool whole = true;
  const auto take = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, symbol));
    whole = whole && function;
  };
  take(lt.create, "cublasLtCreate");
  take(lt.destroy, "cublasLtDestroy");
  take(lt.matmul, "cublasLtMatmul");
  take(lt.desc_create, "cublasLtMatmulDescCreate");
  take(lt.desc_destroy, "cublasLtMatmulDescDestroy");
  take(lt.desc_set, "cublasLtMatmulDescSetAttribute");
  take(lt.layout_create, "cublasLtMatrixLayoutCreate");
  take(lt.layout_destroy, "cublasLtMatrixLayoutDestroy");
  take(lt.preference_create, "cublasLtMatmulPreferenceCreate");
  take(lt.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  take(lt.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  take(lt.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  if (!whole) return fail(Error::unsupported("the cuBLASLt that was found (" + name + ") lacks a function that is needed; install the one of the CUDA toolkit"));
  return lt;
}

}  // namespace corvid::cuda
