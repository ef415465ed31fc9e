#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# claim_folder.sh FOLDER ENVIRONMENT_ID: makes the folder this lab's, prints what it did.
# Only what another checkout's lab left (its marker names lab-<12 hex>) is emptied; anything else is not ours to touch.
set -euo pipefail
folder=$1 id=$2
mkdir -p "$folder"
owner=$(cat "$folder/environment_id" 2>/dev/null || true)
if [ "$owner" = "$id" ]; then exit 0; fi
if [[ $owner =~ ^lab-[0-9a-f]{12}$ ]]; then
  find "$folder" -mindepth 1 -delete
  echo "emptied $folder: it belonged to another checkout's lab, $owner"
elif [ -n "$(ls -A "$folder")" ]; then
  echo "$folder is not empty and is not a lab's (its environment_id is '${owner:-missing}', this lab is $id). Nothing was" \
    "touched. Move it away, or set backup_store_path and recovery_state_path in inventories/lab to other folders." >&2
  exit 1
fi
printf '%s' "$id" >"$folder/environment_id"
echo "claimed $folder"
