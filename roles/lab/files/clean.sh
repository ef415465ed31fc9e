#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# clean.sh RUN STORE STATE: removes what belongs to this checkout's environment, and nothing without its id;
# then the images that set-up made.
set -euo pipefail
engine=$(docker info --format '{{.ServerVersion}}' 2>/dev/null || true)

if id=$(cat "$1/environment_id" 2>/dev/null); then
  [ -z "$engine" ] || "$(dirname "$0")/docker_objects.sh" remove "$id"
  for folder in "$2" "$3"; do
    if [ "$(cat "$folder/environment_id" 2>/dev/null)" = "$id" ]; then
      rm -rf "$folder"
      echo "removed $folder"
    fi
  done
fi

if [ -n "$engine" ]; then
  filter=label=platform3.recovery.content
  docker image ls --filter "$filter" --filter dangling=false --format '{{.Repository}}:{{.Tag}}' |
    xargs --no-run-if-empty docker image rm --force
  docker image prune --force --filter "$filter"
fi | grep -E '^(Untagged|Total)' || true
