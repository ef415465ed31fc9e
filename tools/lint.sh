#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Every linter, a line each with its time; what one of them finds is shown in full and fails the run.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0

check() {
  local name=$1 started=$SECONDS output
  shift
  if output=$("$@" 2>&1); then
    printf '%s  lint | %s (%s s)\n' "$(date +%H:%M:%S)" "$name" $((SECONDS - started))
  else
    printf '%s  lint | %s FAILED\n%s\n' "$(date +%H:%M:%S)" "$name" "$output"
    failed=1
  fi
}

check yamllint yamllint --strict .
check "ruff check" ruff check .
check mypy mypy plugins
check ansible-lint ansible-lint -q
exit "$failed"
