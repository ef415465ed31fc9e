// SPDX-License-Identifier: GPL-3.0-or-later

//go:build tools

package main

import _ "github.com/influxdata/pkg-config"
