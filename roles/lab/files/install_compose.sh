#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# install_compose.sh BASE_IMAGE TARGET: unpacks Debian's docker-compose package into the file TARGET.
set -euo pipefail
container=$(docker create --network host "$1" sh -ec '
  cd /tmp && apt-get update -qq && apt-get download -qq docker-compose && dpkg-deb -x docker-compose_*.deb package')
trap 'docker rm --force "$container" >/dev/null' EXIT
docker start --attach "$container"
mkdir -p "$(dirname "$2")"
docker cp "$container:/tmp/package/usr/libexec/docker/cli-plugins/docker-compose" "$2"
chmod 0755 "$2"
docker compose version
