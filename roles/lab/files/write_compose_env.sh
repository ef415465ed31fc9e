#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# write_compose_env.sh FILE PROJECT ENVIRONMENT_ID STORE STATE: the variables of the lab's Compose files.
set -euo pipefail
wanted="COMPOSE_PROJECT_NAME=$2
PLATFORM3_ENVIRONMENT_ID=$3
PLATFORM3_SECRETS_PATH=../secrets/lab
PLATFORM3_RUN_PATH=./run
BACKUP_STORE_PATH=$4
HEARTBEAT_PATH=$5/heartbeats
SECOND_COPY_STATE_PATH=$5/second_copy
SECOND_COPY_URL=http://s3:7070
SECOND_COPY_BUCKET=platform3"
[ "$(cat "$1" 2>/dev/null || true)" != "$wanted" ] || exit 0
printf '%s\n' "$wanted" >"$1"
echo "wrote ${1##*/}"
