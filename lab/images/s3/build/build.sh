#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds versitygw into the file named by the first argument (about a minute on two cores). Needs Go; sources come from
# the Go proxy.
set -euo pipefail
target=$1
cd "$(dirname "$0")"
mkdir -p "$(dirname "$target")"
CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local go build -trimpath -ldflags='-s -w' -o "$target.partial" .
mv "$target.partial" "$target"
