#!/usr/bin/env bash
# Installs the packages and builds the program: build/release/bin/corvid.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/packages.sh
cmake --preset release -DCORVID_BUILD_TESTS=OFF
cmake --build --preset release --target corvid_program
echo "built build/release/bin/corvid"
