// Command bench measures zferry and prints one table; BENCH names the groups, all of them without it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/zferry/zferry/testing/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench.Run(ctx, strings.Fields(os.Getenv("BENCH")), os.Stdout, os.Stderr, filepath.Join("build", "bench.json"))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
