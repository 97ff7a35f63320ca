#!/usr/bin/env bash
# Runs the fuzzers, each so many seconds, from seeds made here: scripts/fuzz.sh [SECONDS [NAME…]]
#
# As many at once as there are cores (CORVID_FUZZ_JOBS). Prints executions, executions a second and the seconds of computing that a shared machine gave, and with CORVID_FUZZ_COVERAGE=ON the
# line coverage of what is fuzzed; inputs found in earlier runs stay below build/fuzz/corpus.
# A finding fails the run, with the input in the fuzzer's folder. Without clang it says SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
shift || true
if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' | clang++ -x c++ -fsanitize=fuzzer - -o /dev/null 2>/dev/null; then
  echo "SKIPPED: the fuzzers need clang and its libFuzzer (scripts/packages.sh fuzz)"
  exit 0
fi

declare -A parser=([expression]='graphs/file/expression' [graph_file]='graphs/file/(?!expression)' [json]='src/base/json.cpp' [gguf]='src/tensor/gguf_reader|src/tensor/metadata'
  [safetensors]='src/tensor/safetensors_reader' [filter]='retrieval/filter/' [tokenizer_file]='src/text/hub_' [tokenizer_text]='src/text/(bpe|char_bpe|spm|wordpiece|pretokenize|normalizers|special_tokens)'
  [chat_template]='llm/chat_template/' [config]='llm/config/' [workspace]='src/storage/workspace' [settings]='apps/cli/configuration' [html]='retrieval/load/html' [csv]='retrieval/load/csv' [jsonl]='retrieval/load/json_records' [md]='retrieval/load/markdown')
names=("$@")
if [ ${#names[@]} -eq 0 ]; then mapfile -t names < <(printf '%s\n' "${!parser[@]}" | sort); fi

if [ -z "${CORVID_FUZZ_BUILT:-}" ]; then
  cmake --preset fuzz -DCORVID_FUZZ_COVERAGE="${CORVID_FUZZ_COVERAGE:-OFF}" >/dev/null
  cmake --build build/fuzz --target "${names[@]/#/fuzz_}"
fi
jobs=${CORVID_FUZZ_JOBS:-$(nproc)}
work=$PWD/build/fuzz/corpus
python3 fuzz/make_seeds.py "$work" >/dev/null
fuzz_one() {
  local name=$1 log=$work/$1.log runs rate computed covered=- TIMEFORMAT='computing %U'
  mkdir -p "$work/$name-found"
  rm -f "$work/$name.profraw"   # of a run with another build
  local most=8192
  if [ "$name" = tokenizer_file ]; then most=32768; fi   # a byte alphabet with its merges
  local options=(-max_total_time="$seconds" -max_len=$most -rss_limit_mb=2048 -timeout="${CORVID_FUZZ_TIMEOUT:-20}" -print_final_stats=1 -artifact_prefix="$work/$name-found/")
  local leaks=1
  if [ "$name" = html ]; then leaks=0; fi   # those of the HTML library, where it broke off
  [ -f "$work/$name.dict" ] && options+=(-dict="$work/$name.dict")
  export ASAN_OPTIONS=detect_leaks=$leaks LLVM_PROFILE_FILE=$work/$name.profraw
  if ! { time build/fuzz/bin/fuzz_"$name" "${options[@]}" "$work/$name-found" "$work/$name"; } >"$log" 2>&1; then
    tail -40 "$log"
    echo "fuzz_$name: a finding, see $log"
    return 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  if [ -s "$work/$name.profraw" ] && command -v llvm-profdata >/dev/null; then
    llvm-profdata merge -sparse "$work/$name.profraw" -o "$work/$name.profdata"
    covered=$(llvm-cov export -summary-only -instr-profile="$work/$name.profdata" build/fuzz/bin/fuzz_"$name" |
      python3 -c 'import json,re,sys
files=[f["summary"]["lines"] for f in json.load(sys.stdin)["data"][0]["files"] if re.search(sys.argv[1], f["filename"]) and f["filename"].endswith(".cpp")]
print("%.1f %% of %d lines" % (100*sum(f["covered"] for f in files)/max(1,sum(f["count"] for f in files)), sum(f["count"] for f in files)))' "${parser[$name]}")
  fi
  computed=$(sed -n 's/^computing \([0-9]*\).*/\1/p' "$log")
  echo "fuzz_$name: $runs executions, $rate a second, $computed s of computing, $covered"
}

failed=0
for name in "${names[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || failed=1; done
  fuzz_one "$name" &
done
while [ -n "$(jobs -p)" ]; do wait -n || failed=1; done
exit "$failed"
