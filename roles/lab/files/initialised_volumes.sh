#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# initialised_volumes.sh PROJECT IMAGE: names the datastores whose volume exists and was initialised (asked as root:
# each data folder is its own user's).
set -euo pipefail
mounts=()
for datastore in postgresql redis influxdb; do
  volume=$1_$datastore-data
  # Mounting a volume that does not exist would make it.
  if docker volume inspect "$volume" >/dev/null 2>&1; then
    mounts+=(--volume "$volume:/volumes/$datastore:ro")
  fi
done
[ "${#mounts[@]}" -gt 0 ] || exit 0
docker run --rm --network none --user 0 --entrypoint bash "${mounts[@]}" "$2" \
  -c 'cd /volumes && for d in *; do if [ -s "$d/environment_id" ]; then echo "$d"; fi; done'
