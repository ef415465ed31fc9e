#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# content_hash.sh PATH...: one sha256 over names, modes and contents of the files, whatever their times.
set -euo pipefail
find "$@" -type f ! -path '*/__pycache__/*' -printf '%p %m\n' | LC_ALL=C sort | while read -r path mode; do
  printf '%s %s ' "$path" "$mode"
  sha256sum <"$path"
done | sha256sum | cut -d' ' -f1
