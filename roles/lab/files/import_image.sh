#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# import_image.sh ROOT FOLDER IMAGE: makes ROOT's FOLDER the whole content of IMAGE, for a Dockerfile to copy from.
# The label lets `make clean` find it.
set -euo pipefail
tar --create --directory "$1" "$2" | docker import --change 'LABEL platform3.recovery.content=import' - "$3"
