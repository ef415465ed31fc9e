#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# claim_folders.sh ENVIRONMENT_ID STORE STATE: makes the backup store and the state folder this lab's, with the folders
# that the datastores mount; prints what it did. Only what another checkout's lab left (its marker names
# lab-<12 hex>) is emptied; anything else is not ours to touch.
set -euo pipefail
id=$1 store=$2 state=$3

claim() {
  local folder=$1 owner
  mkdir -p "$folder"
  owner=$(cat "$folder/environment_id" 2>/dev/null || true)
  [ "$owner" != "$id" ] || return 0
  if [[ $owner =~ ^lab-[0-9a-f]{12}$ ]]; then
    find "$folder" -mindepth 1 -delete
    echo "emptied $folder: it belonged to another checkout's lab, $owner"
  elif [ -n "$(ls -A "$folder")" ]; then
    echo "$folder is not empty and is not a lab's (its environment_id is '${owner:-missing}', this lab is $id). Nothing was" \
      "touched. Move it away, or set backup_store_path and recovery_state_path in inventories/lab to other folders." >&2
    return 1
  fi
  printf '%s' "$id" >"$folder/environment_id"
  echo "claimed $folder"
}

claim "$store"
claim "$state"
# uid 999 is the datastore's user in its image.
for folder in pgbackrest wal-stream aof; do
  [ -d "$store/$folder" ] || install -d -m 0750 -o 999 -g 999 "$store/$folder"
done
# uid 1001 is services.
[ -d "$state/heartbeats" ] || install -d -m 0755 -o 1001 -g 1001 "$state/heartbeats"
mkdir -p "$store/fence" "$state/second_copy"
[ -e "$store/fence/wal_stream" ] || printf initial >"$store/fence/wal_stream"
[ -e "$store/fence/epoch" ] || printf 1 >"$store/fence/epoch"
