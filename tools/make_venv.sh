#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes or updates .venv from the pinned requirements named as arguments; quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/.requirements.sha256
wanted=$(cat "$@" | sha256sum | cut -d' ' -f1)
if [ -x .venv/bin/ansible-playbook ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

# Each candidate is asked itself: pyenv's shims exist for versions that are not selected and fail then.
candidates() {
  printf '%s\n' "${PYTHON:-}" python3.13 python3.12 python3
  if command -v pyenv >/dev/null; then
    local version
    for version in $(pyenv versions --bare | grep -E '^3\.1[2-9]' | sort -Vr); do
      printf '%s/bin/python\n' "$(pyenv prefix "$version")"
    done
  fi
}

python=
while read -r candidate; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    python=$candidate
    break
  fi
done < <(candidates)
if [ -z "$python" ]; then
  echo "No Python 3.12 or newer (with its venv module) was found; ansible-core 2.21 needs it." >&2
  echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
  exit 1
fi

say() { printf '%s  setup | %s\n' "$(date +%H:%M:%S)" "$1"; }
say "Make the Python environment .venv with $("$python" --version)"
rm -f "$stamp"
"$python" -m venv --clear .venv
arguments=()
for file in "$@"; do arguments+=(-r "$file"); done
# Compiling all of it at once would take longer than everything else; Python compiles what it imports.
.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes "${arguments[@]}"
echo "$wanted" >"$stamp"
say "Python environment ready"
