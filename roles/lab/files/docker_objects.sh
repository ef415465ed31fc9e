#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# docker_objects.sh remove ID | remove-others ID: removes the containers, volumes and networks of the lab ID,
# or of every other checkout's lab. Only what carries the label of a lab is ever looked at.
set -euo pipefail
readonly label=platform3.recovery.environment action=$1 id=$2

chosen() {
  while read -r object owner; do
    [[ $owner =~ ^lab-[0-9a-f]{12}$ ]] || continue
    case "$action" in
      remove) [ "$owner" != "$id" ] || echo "$object" ;;
      remove-others) [ "$owner" = "$id" ] || echo "$object" ;;
    esac
  done
}

remove() {
  local kind=$1 && shift
  local objects
  mapfile -t objects
  [ "${#objects[@]}" -gt 0 ] || return 0
  "$@" "${objects[@]}" >/dev/null
  echo "removed ${#objects[@]} $kind"
}

docker ps --all --filter "label=$label" --format "{{.ID}} {{.Label \"$label\"}}" | chosen | remove containers docker rm --force
docker volume ls --filter "label=$label" --format "{{.Name}} {{.Label \"$label\"}}" | chosen | remove volumes docker volume rm
docker network ls --filter "label=$label" --format "{{.ID}} {{.Label \"$label\"}}" | chosen | remove networks docker network rm
