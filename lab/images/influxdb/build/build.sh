#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds influxd into the file named by the first argument (3-5 minutes on two cores).
# Needs Go, Rust, clang and pkg-config; sources come from the Go proxy and crates.io.
set -euo pipefail
target=$1
cd "$(dirname "$0")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
export GOFLAGS=-mod=readonly GOTOOLCHAIN=local
go build -o "$tools/pkg-config" github.com/influxdata/pkg-config
export PKG_CONFIG="$tools/pkg-config" RUSTC_WRAPPER="$PWD/rustc-lints"
# The Rust part asks for a toolchain of its own, which cannot be downloaded everywhere.
if command -v rustup >/dev/null; then
  RUSTUP_TOOLCHAIN=$(rustup show active-toolchain | cut -d' ' -f1)
  export RUSTUP_TOOLCHAIN
fi
mkdir -p "$(dirname "$target")"
go build -trimpath -ldflags='-s -w' -tags sqlite_foreign_keys,sqlite_json -o "$target.partial" .
mv "$target.partial" "$target"
