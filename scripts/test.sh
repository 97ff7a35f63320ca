#!/usr/bin/env bash
# Installs, builds and tests everything. What needs data or models that cannot be had here says SKIPPED in its output.
set -euo pipefail
cd "$(dirname "$0")/.."
export CORVID_MODELS=${CORVID_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/corvid/models}
export CCACHE_NOHASHDIR=1
stage() { echo; echo "== $1 (after ${SECONDS} s)"; }

stage packages; scripts/packages.sh
scripts/packages.sh fuzz || echo "NOTE: clang could not be installed: the fuzzers below will say SKIPPED."
export CORVID_REQUIRE_POSTGRES=1
stage models; scripts/fetch_models.sh --all
export CORVID_REQUIRE_MODELS=1
stage "reference data"
data=$(scripts/test_data.sh)
if [ -n "$data" ]; then export CORVID_TEST_DATA=$data; else echo "SKIPPED: no reference data; tests that compare with recorded outputs of other programs will say so"; fi

# One architecture is enough to show that the CUDA code compiles; packages get them all (cmake --preset cuda).
cuda=(-DCORVID_CUDA_ARCHITECTURES=90)
if nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null); then
  export CUDACXX=$nvcc
  cuda+=(-DCORVID_CUDA=ON)
  if ! nvidia-smi -L >/dev/null 2>&1; then echo "NOTE: CUDA is compiled here, but there is no GPU: tests tagged [cuda] will say SKIPPED."; fi
else echo "NOTE: CUDA WAS NOT COMPILED (no nvcc on this machine): the release build below is for the CPU alone."; fi

stage "structure"; python3 tests/house/check_layers.py --self-test && python3 tests/house/check_layers.py .
stage "release build"; cmake --preset release "${cuda[@]}" && cmake --build --preset release
stage "release tests"; ctest --test-dir build/release -j "$(nproc)" --output-on-failure

# The sanitizers' passes leave out the tests of whole models: those compute for minutes there and add no new paths.
unset CORVID_REQUIRE_MODELS
stage "address and undefined-behaviour sanitizers"
cmake --preset asan -DCORVID_BUILD_EXAMPLES=OFF && cmake --build --preset asan
CORVID_MODELS=/nonexistent ctest --test-dir build/asan -j "$(nproc)" --output-on-failure

stage "thread sanitizer"
cmake --preset tsan -DCORVID_BUILD_APPS=OFF -DCORVID_BUILD_EXAMPLES=OFF
cmake --build build/tsan --target test_runtime test_storage test_llm test_graphs
CORVID_MODELS=/nonexistent ctest --test-dir build/tsan -j "$(nproc)" --output-on-failure -R '^(runtime|storage|llm|graphs|graphs_crash)$'

# Twenty seconds each, from seeds made here.
stage "fuzzers"
scripts/fuzz.sh 20

stage "all passed"
