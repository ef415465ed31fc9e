#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Every linter, a line each with its time; what one of them finds is shown in full and fails the run.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" NO_COLOR=1 MOLECULE_GLOB='molecule/*/molecule.yml'
failed=0

check() { # check NAME COMMAND...
  local name=$1 started=$SECONDS output
  shift
  if output=$("$@" 2>&1); then
    printf '%s  lint | %s (%s s)\n' "$(date +%H:%M:%S)" "$name" $((SECONDS - started))
  else
    printf '%s  lint | %s FAILED (%s s): %s\n%s\n' "$(date +%H:%M:%S)" "$name" $((SECONDS - started)) "$*" "$output"
    failed=1
  fi
}

types() ( # from collections/, so that each module has the one name by which it is imported
  cd collections && mypy --strict --config-file ../pyproject.toml --cache-dir ../.mypy_cache \
    ansible_collections/platform3/recovery/plugins
)

check "ruff check" ruff check --quiet .
check "ruff format" ruff format --quiet --check .
check yamllint yamllint --strict .
check mypy types
check antsibull-docs antsibull-docs lint-collection-docs --plugin-docs .
check ansible-lint ansible-lint --nocolor -q
exit "$failed"
