// Command zferry replicates ZFS datasets, and runs the lab in which that is tested.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "development"

// The exit codes of every command.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:])) }

// run carries out one command line and returns its exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The first signal asks for an orderly end; the next one is not held back.
	context.AfterFunc(ctx, stop)
	// A reader of our output who goes away is an error of the write, and no sudden end with streams under way. Nobody
	// listens: that the signal is taken is all that is wanted.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	started := false
	root := newRootCommand(&started)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "zferry:", err)
	// What goes wrong before a command runs is wrong on its command line.
	if _, usage := errors.AsType[usageError](err); usage || !started {
		fmt.Fprintf(os.Stderr, "See '%s --help'.\n", command.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// usageError is a fault of the command line that cobra does not find itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// newRootCommand sets started when a command has passed the checks of its flags and arguments and begins to run.
func newRootCommand(started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:           "zferry",
		Short:         "Replicate ZFS datasets",
		Long:          "zferry replicates ZFS datasets from one machine to another over SSH, or between pools of one machine.",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			err := cmd.ValidateRequiredFlags() // cobra would do it only after this
			*started = err == nil
			return err
		},
	}
	root.AddCommand(newServeCommand(), newCallCommand(), newWatchCommand(), newJobsCommand(), newReplicateCommand(), newDemoCommand(), newLabCommand())
	return root
}
