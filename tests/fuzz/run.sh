#!/usr/bin/env bash
# run.sh BUILD_DIRECTORY EXECUTIONS: runs every fuzzer so many times over its corpus and says how often it ran.
# A failing input is kept in BUILD_DIRECTORY/fuzz; add it to tests/fuzz/corpus with the repair.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
build=$1 executions=$2 bad=0
mkdir -p "$build/fuzz"
for target in frames messages session records recovery outbox_options outbox_row; do
  corpus="$build/fuzz/$target" log="$build/fuzz/$target.log"
  mkdir -p "$corpus"
  if "$build/bin/fuzz_$target" -runs="$executions" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$build/fuzz/$target-" "$corpus" "$here/corpus/$target" >"$log" 2>&1; then
    printf 'fuzz %-9s %s executions, no failure\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  else
    printf 'fuzz %-9s FAILED, see %s\n' "$target" "$log"
    bad=1
  fi
done
exit "$bad"
