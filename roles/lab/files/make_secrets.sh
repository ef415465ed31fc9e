#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# make_secrets.sh FOLDER: one value a file, no newline; what exists is kept. The folder keeps others out; the files
# are readable because containers, which mount them one by one, run as other users.
set -euo pipefail
mkdir -p "$1"
chmod 0700 "$1"
cd "$1"
for name in postgresql_password postgresql_replication_password redis_password redis_services_password \
  influxdb_token influxdb_password recovery_password trader_password; do
  [ -s "$name" ] && continue
  head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$name.partial"
  chmod 0444 "$name.partial"
  mv "$name.partial" "$name"
  echo "made $name"
done
# Filled through InfluxDB's API once it runs; Compose wants the files before.
for name in influxdb_market_data_token influxdb_analytics_token; do
  [ -e "$name" ] || : >"$name"
  chmod 0444 "$name"
done
if [ ! -s backup_signing_key ]; then
  ssh-keygen -q -t ed25519 -N '' -C platform3-lab-backup -f backup_signing_key
  echo "made backup_signing_key"
fi
