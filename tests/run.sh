#!/usr/bin/env bash
# Runs every test of the workspace and closes with the counts. Tests that lack root or a package print a
# line "skipped: …"; those lines are repeated at the end.
set -uo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --release --workspace --no-fail-fast -- --show-output 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# What only a machine with cgroup v2 shows, on an emulated one.
tests/cgroup2/run.sh cgroup:: pods:: 2>&1 | tee -a "$log"
[ "${PIPESTATUS[0]}" = 0 ] || status=1

skips=$(grep -E '^skipped: ' "$log" | sort | uniq -c)
[ -z "$skips" ] || printf '\nskipped parts:\n%s\n' "$skips"
awk -v skipped="$(grep -cE '^skipped: ' "$log")" '
  /^test result:/ { passed += $4; failed += $6; skipped += $8 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
exit "$status"
