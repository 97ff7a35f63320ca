#!/usr/bin/env bash
# Prints a folder with the reference data that the tests read: recorded outputs of other implementations and real documents. They are not
# part of the repository; $CORVID_SHARED (default: ../shared) holds them where they exist. Prints nothing where they do not.
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${CORVID_SHARED:-../shared}
[ -d "$shared/peers/cpu" ] || exit 0
shared=$(cd "$shared" && pwd)
out=$PWD/build/test-data
mkdir -p "$out"
ln -sf "$shared"/peers/cpu/golden_*.json "$out"/
for archive in "$shared"/data/*.tar.xz; do
  name=$(basename "$archive" .tar.xz)
  [ -e "$out/.$name" ] || { tar -xJf "$archive" -C "$out" && touch "$out/.$name"; }
done
# Vocabularies and chat templates of llama.cpp with their recorded outputs, from the source package that carries them.
if [ ! -e "$out/llama-vocabs" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  if python3 -m pip download -q --no-deps --disable-pip-version-check --no-binary llama-cpp-python -d "$work" llama-cpp-python==0.3.36 >&2 \
     || ls "$work"/llama_cpp_python-0.3.36.tar.gz >/dev/null 2>&1; then
    tar -xzf "$work"/llama_cpp_python-0.3.36.tar.gz -C "$work" llama_cpp_python-0.3.36/vendor/llama.cpp/models
    mv "$work/llama_cpp_python-0.3.36/vendor/llama.cpp/models" "$out/llama-vocabs"
    ln -sfn llama-vocabs/templates "$out/llama-templates"
  fi
fi
echo "$out"
