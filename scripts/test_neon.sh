#!/bin/sh
# Cross-compiles base, runtime, tensor and compute with their op tests for 64-bit ARM and runs the tests under qemu-user,
# at every level the emulated processor has (scalar, neon, dotprod, i8mm). Needs g++-aarch64-linux-gnu and qemu-user-static.
# Usage: scripts/test_neon.sh [build folder]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$source/build/neon}
for tool in aarch64-linux-gnu-g++ qemu-aarch64-static cmake ninja; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt install g++-aarch64-linux-gnu qemu-user-static cmake ninja-build" >&2; exit 5; }
done
# Header-only dependencies, apart from /usr/include, whose C headers are the host's.
mkdir -p "$build/include" "$build/project"
for name in nlohmann tl boost catch2; do
  [ -e "/usr/include/$name" ] || { echo "/usr/include/$name is missing: see scripts/packages.sh" >&2; exit 5; }
  ln -sfn "/usr/include/$name" "$build/include/$name"
done
cat > "$build/project/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.25)
project(corvid_neon LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
find_package(Threads REQUIRED)
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER \${CCACHE_PROGRAM})
endif()
file(GLOB_RECURSE sources CONFIGURE_DEPENDS $source/src/base/*.cpp $source/src/runtime/*.cpp $source/src/tensor/*.cpp
     $source/src/compute/*.cpp $source/tests/compute/*.cpp $source/tests/support/*.cpp)
list(FILTER sources EXCLUDE REGEX "_avx[a-z0-9]*\\\\.cpp\$")
list(FILTER sources EXCLUDE REGEX "/compute/cuda/|/tracer_otlp|/tracer_environment")   # no TLS library for ARM here
foreach(source IN LISTS sources)
  if(source MATCHES "_dotprod\\\\.cpp\$")
    set_source_files_properties(\${source} PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod+fp16")
  elseif(source MATCHES "_i8mm\\\\.cpp\$")
    set_source_files_properties(\${source} PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod+fp16+i8mm")
  endif()
endforeach()
add_executable(test_compute \${sources})
target_include_directories(test_compute PRIVATE $source/include $source/src/base $source/src/runtime $source/src/tensor
                           $source/src/compute $source/tests $source)
target_include_directories(test_compute SYSTEM PRIVATE $build/include)
target_compile_definitions(test_compute PRIVATE CORVID_SOURCE_DIR="$source" CORVID_BINARY_DIR="$build")
target_link_libraries(test_compute PRIVATE Threads::Threads)
EOF
cmake -S "$build/project" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_TOOLCHAIN_FILE="$source/cmake/aarch64-toolchain.cmake"
cmake --build "$build" --target test_compute
qemu-aarch64-static -L /usr/aarch64-linux-gnu "$build/test_compute"
