#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# clean.sh RUN STORE STATE: removes what belongs to this checkout's environment, and nothing without its id.
set -euo pipefail
id=$(cat "$1/environment_id" 2>/dev/null) || exit 0
if command -v dockerd >/dev/null || docker info >/dev/null 2>&1; then
  "$(dirname "$0")/docker_objects.sh" remove "$id"
fi
for folder in "$2" "$3"; do
  if [ "$(cat "$folder/environment_id" 2>/dev/null)" = "$id" ]; then
    rm -rf "$folder"
    echo "removed $folder"
  fi
done
