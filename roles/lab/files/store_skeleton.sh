#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# store_skeleton.sh STORE: the folders that the datastores mount (uid 999 is the image's postgres), the first epoch.
set -euo pipefail
cd "$1"
for folder in pgbackrest wal-stream; do
  [ -d "$folder" ] || { install -d -m 0750 -o 999 -g 999 "$folder" && echo "made $folder"; }
done
mkdir -p fence
[ -e fence/wal_stream ] || printf initial >fence/wal_stream
[ -e fence/epoch ] || { printf 1 >fence/epoch && echo "made fence"; }
