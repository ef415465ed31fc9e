#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# make_base_image.sh IMAGE: a minimal Debian trixie from the mirror that this machine itself uses.
set -euo pipefail
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
options=()
# The machine's certificates, for a mirror reached by https.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  options+=(--customize-hook='mkdir -p "$1/etc/ssl/certs"'
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs')
fi
archive=$(mktemp --suffix=.tar)
trap 'rm -f "$archive"' EXIT
mmdebstrap --quiet --variant=minbase "${options[@]}" trixie "$archive" "${mirror:?no Debian mirror is configured}"
# The label lets `make clean` find it, and every image made from it.
docker import --change 'LABEL platform3.recovery.content=import' "$archive" "$1"
