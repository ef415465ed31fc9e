#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# under_systemd.sh UNITS FOLDER COMMAND...: runs COMMAND while a systemd of its own has the units of UNITS loaded.
# It is a user manager in a mount namespace, so that it runs where no init system does, and no other is touched. What only
# the system's manager can do is left out of the units: the user, and what needs mounts. FOLDER/log is its log folder.
set -euo pipefail
if [ -z "${UNDER_SYSTEMD:-}" ]; then
  export UNDER_SYSTEMD=1 XDG_RUNTIME_DIR=$2/runtime XDG_CONFIG_HOME=$2
  exec unshare --mount "$0" "$@"
fi
units=$1 folder=$2
shift 2
mkdir -p -m 0700 "$XDG_RUNTIME_DIR" "$folder/systemd/user" /run/systemd
cp "$units"/* "$folder/systemd/user"
sed -i -E '/^(User|ProtectSystem|ProtectKernel.*|ProtectControlGroups|ProtectHostname|ProtectClock|PrivateTmp|PrivateDevices)=/d' \
  "$folder"/systemd/user/*.service
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system
/lib/systemd/systemd --user --unit=basic.target >"$folder/manager.log" 2>&1 &
manager=$!
trap 'kill $manager' EXIT
for _ in $(seq 100); do
  [ ! -S "$XDG_RUNTIME_DIR/systemd/private" ] || break
  sleep 0.1
done
"$@"
