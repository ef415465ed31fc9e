#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# content_hashes.sh SET...: for each set (paths, space-separated) one sha256 over the names, modes and contents of its
# files, whatever their times.
set -euo pipefail
export LC_ALL=C
for set in "$@"; do
  read -ra paths <<<"$set"
  mapfile -t files < <(find "${paths[@]}" -type f ! -path '*/__pycache__/*' | sort)
  { stat --format='%a %n' "${files[@]}" && sha256sum "${files[@]}"; } | sha256sum | cut -d' ' -f1
done
