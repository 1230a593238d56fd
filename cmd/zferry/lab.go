package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/testing/lab"
)

// newLabCommand makes the command that runs two machines to try things on.
func newLabCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "lab",
		Short: "Run two small virtual machines with OpenZFS, nas1 and nas2",
		Long: "lab runs two small virtual machines with OpenZFS and a network between them, to try things on without risk.\n" +
			"nas1 has the pool tank, nas2 the pool backup. They are made from Debian packages the first time,\n" +
			"which takes 5 to 10 minutes, and kept for later.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(newLabUp(), newLabDown(), newLabStatus(), newLabSSH())
	return command
}

func newLabUp() *cobra.Command {
	var o lab.Options
	up := &cobra.Command{
		Use:   "up",
		Short: "Start the machines and leave them running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			running, err := lab.Up(cmd.Context(), o)
			if errors.Is(err, lab.ErrRunning) {
				return fmt.Errorf("%w: see 'zferry lab status', end it with 'zferry lab down'", err)
			}
			if err != nil {
				return err
			}
			return printLab(cmd, running)
		},
	}
	up.Flags().StringVar(&o.Variant, "openzfs", lab.OpenZFS23, "series of OpenZFS: "+lab.OpenZFS23+" or "+lab.OpenZFS21)
	return up
}

func newLabDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the machines and remove what was done on them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.Down(cmd.Context(), lab.Options{})
		},
	}
}

func newLabStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the machines and how to reach them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := labStatus()
			if err != nil {
				return err
			}
			return printLab(cmd, running)
		},
	}
}

func newLabSSH() *cobra.Command {
	command := &cobra.Command{
		Use:                   "ssh NAME [COMMAND...]",
		Short:                 "Log in to a machine as root, or run a command there",
		Args:                  cobra.MinimumNArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			running, err := labStatus()
			if err != nil {
				return err
			}
			return labSSH(cmd.Context(), running, args)
		},
	}
	// Flags behind the name are the command's.
	command.Flags().SetInterspersed(false)
	return command
}

func labStatus() (*lab.Running, error) {
	running, err := lab.Status(lab.Options{})
	if errors.Is(err, lab.ErrNotRunning) {
		return nil, fmt.Errorf("%w: start it with 'zferry lab up'", err)
	}
	return running, err
}

func printLab(cmd *cobra.Command, running *lab.Running) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "OpenZFS %s, %s, up for %s\n", running.Variant, running.Accel, time.Since(running.Since).Round(time.Second))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTATE\tPOOL\tLINK\tFROM HERE")
	for _, m := range running.Machines {
		state := "up"
		if !m.Alive {
			state = "ended"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", m.Name, state, m.Pool, m.Addr, m.Forward)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nzferry lab ssh nas1     a shell there\nssh -F %s nas1\n", running.SSHConfig)
	return err
}

// labSSH hands the terminal to the system's ssh. Its exit code is the command's, so a signal to us is left to it too.
func labSSH(ctx context.Context, running *lab.Running, args []string) error {
	known := false
	for _, m := range running.Machines {
		known = known || m.Name == args[0]
	}
	if !known {
		return usageError{fmt.Errorf("no machine is named %q: there are nas1 and nas2", args[0])}
	}
	ssh := exec.CommandContext(ctx, "ssh", append([]string{"-F", running.SSHConfig, "--"}, args...)...)
	ssh.Stdin, ssh.Stdout, ssh.Stderr = os.Stdin, os.Stdout, os.Stderr
	ssh.Cancel = func() error { return ssh.Process.Signal(os.Interrupt) }
	err := ssh.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("ssh %s: exit code %d", args[0], exit.ExitCode())
	}
	return err
}
