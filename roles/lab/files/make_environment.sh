#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# make_environment.sh RUN SECRETS IDENTITIES: the environment's id, the secrets, who can open their backup, and what
# containers read of them.
# What exists is kept; prints what was made.
set -euo pipefail
run=$1 secrets=$2 identities=$3

random_hex() {
  head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'
}

# One value a file, no newline.
make_once() {
  [ ! -s "$2" ] || return 0
  printf '%s' "$3" >"$2.partial"
  chmod "$1" "$2.partial"
  mv "$2.partial" "$2"
  echo "made ${2##*/}"
}

mkdir -p "$run/control" "$run/redis" "$secrets"
make_once 0644 "$run/environment_id" "lab-$(random_hex 6)"
make_once 0644 "$run/control/epoch" 1

# The folder keeps others out; the files are readable because containers, which mount them one by one, run as other users.
chmod 0700 "$secrets"
for name in postgresql_password postgresql_replication_password redis_password redis_services_password \
  influxdb_token influxdb_password recovery_password trader_password second_copy_access_key second_copy_secret_key \
  second_copy_password second_copy_salt; do
  make_once 0444 "$secrets/$name" "$(random_hex 24)"
done
# Filled through InfluxDB's API once it runs; Compose wants the files before.
for name in influxdb_market_data_token influxdb_analytics_token influxdb_heartbeat_token; do
  [ -e "$secrets/$name" ] || install -m 0444 /dev/null "$secrets/$name"
done
if [ ! -s "$secrets/backup_signing_key" ]; then
  ssh-keygen -q -t ed25519 -N '' -C platform3-lab-backup -f "$secrets/backup_signing_key"
  echo "made backup_signing_key"
fi
# Two people's keys, that open the secrets in a backup set. Elsewhere they lie nowhere near the platform.
mkdir -p -m 0700 "$identities"
for name in operator safe; do
  make_once 0400 "$identities/$name" "$(age-keygen 2>/dev/null | grep '^AGE-SECRET-KEY-')"
  make_once 0444 "$identities/$name.pub" "$(age-keygen -y "$identities/$name")"
done

sha256() {
  sha256sum <"$secrets/$1" | cut -d' ' -f1
}
# Nobody can be `default`, but Redis replays its append-only file as that user: without its rights transactions are lost.
users="user default off resetpass ~* &* +@all
user forex_admin on #$(sha256 redis_password) ~* &* +@all
user platform_services on #$(sha256 redis_services_password) ~* &* +@all -@admin -@dangerous"
if [ "$(cat "$run/redis/users.acl" 2>/dev/null)" != "$users" ]; then
  echo "$users" >"$run/redis/users.acl"
  echo "wrote users.acl"
fi
