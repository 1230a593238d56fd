// Command zferry-plugin is the plugin that gives a middleware ZFS replication.
package main

import (
	"os"

	"github.com/zferry/zferry/plugin"
)

// version is set by the linker.
var version = "development"

func main() { os.Exit(plugin.Main(version, os.Args[1:])) }
