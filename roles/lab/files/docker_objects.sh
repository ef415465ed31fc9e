#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# docker_objects.sh remove ID | remove-others ID: removes the containers, volumes and networks of the lab ID,
# its sandbox's too, or of every other checkout's lab. Only what carries the label of a lab is ever looked at. What a lab labels as
# `elsewhere` stands for another machine: a loss of the platform leaves it, this does not.
set -euo pipefail
readonly action=$1 id=$2

chosen() {
  while read -r object owner; do
    owner=${owner%-sandbox}
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

list() {
  local field=$1 label
  shift
  for label in platform3.recovery.environment platform3.recovery.elsewhere; do
    docker "$@" --filter "label=$label" --format "{{$field}} {{.Label \"$label\"}}"
  done | chosen
}

list .ID ps --all | remove containers docker rm --force
list .Name volume ls | remove volumes docker volume rm
list .ID network ls | remove networks docker network rm
