#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# start_engine.sh LOG: starts dockerd where no init system does, and waits until it answers.
set -euo pipefail
log=$1
if ! pidof dockerd >/dev/null; then
  # After a restart of the machine another process may have the number in the old file: dockerd would refuse.
  rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid
  setsid dockerd >>"$log" 2>&1 </dev/null &
fi
for _ in $(seq 120); do
  if docker version >/dev/null 2>&1; then exit 0; fi
  sleep 0.5
done
echo "The container engine did not answer within 60 s; its last words, from $log:" >&2
tail -n 5 "$log" >&2
exit 1
