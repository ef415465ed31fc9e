// SPDX-License-Identifier: GPL-3.0-or-later

// Command influxd is InfluxDB 2.7 built from its published Go module, for machines where no
// container registry answers. The module's own main package needs assets that are generated at
// release time (the web UI); the server, `inspect` and `recovery` do not.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/influxdata/influxdb/v2"
	"github.com/influxdata/influxdb/v2/cmd/influxd/inspect"
	"github.com/influxdata/influxdb/v2/cmd/influxd/launcher"
	"github.com/influxdata/influxdb/v2/cmd/influxd/recovery"
	_ "github.com/influxdata/influxdb/v2/tsdb/engine/tsm1"
	_ "github.com/influxdata/influxdb/v2/tsdb/index/tsi1"
	"github.com/spf13/cobra"
	"github.com/spf13/viper"
)

const (
	version = "v2.7.12"
	commit  = "module"
	date    = "2025-05-20T00:00:00Z"
)

func run() error {
	influxdb.SetBuildInfo(version, commit, date)
	config := viper.New()
	root, err := launcher.NewInfluxdCommand(context.Background(), config)
	if err != nil {
		return err
	}
	inspectCommand, err := inspect.NewCommand(config)
	if err != nil {
		return err
	}
	root.AddCommand(inspectCommand, recovery.NewCommand(), &cobra.Command{
		Use:   "version",
		Short: "Print the influxd server version",
		Run: func(*cobra.Command, []string) {
			fmt.Printf("InfluxDB %s (git: %s) build_date: %s\n", version, commit, date)
		},
	})
	root.SilenceUsage = true
	return root.Execute()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
