#!/usr/bin/env bash
# bundle.sh OUT PROGRAM…: copies programs and the system libraries they need into OUT, to run on a machine that has a driver and CUDA's
# libraries but none of the packages. The C library and CUDA stay behind; `OUT/run PROGRAM ARGUMENT…` starts a program there.
set -euo pipefail
out=${1:?usage: bundle.sh OUT PROGRAM...}; shift
mkdir -p "$out/bin" "$out/lib"
for program in "$@"; do
  cp "$program" "$out/bin/"
  ldd "$program" | awk '$3 ~ /^\// {print $3}' | while read -r library; do
    case "$(basename "$library")" in
      libc.so.*|libm.so.*|libdl.so.*|librt.so.*|libpthread.so.*|libcuda.so.*|libcublas*) ;;
      *) cp -L "$library" "$out/lib/" ;;
    esac
  done
done
cat > "$out/run" <<'RUN'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
program=$1; shift
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/bin/$program" "$@"
RUN
chmod +x "$out/run"
