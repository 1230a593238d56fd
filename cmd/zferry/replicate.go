package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zferry/zferry/replication"
)

// replicateOptions are the flags of zferry replicate.
type replicateOptions struct {
	connectOptions

	recursive bool
	yes       bool
	dryRun    bool
	json      bool
}

func newReplicateCommand() *cobra.Command {
	var o replicateOptions
	cmd := &cobra.Command{
		Use:   "replicate [flags] SOURCE TARGET",
		Short: "Send the snapshots that a target lacks",
		Long: `Sends the snapshots of the dataset SOURCE that the dataset TARGET lacks.

SOURCE and TARGET are datasets, one of them as user@host:dataset on another system. The plan is shown first and nothing
is done before it is agreed to. A run that was cut is resumed by the next one.`,
		Example: `  zferry replicate -r tank/data root@nas2:backup/data   push a tree
  zferry replicate -r root@nas1:tank/data backup/data   pull it
  zferry replicate tank/data backup/data                from pool to pool
  zferry replicate -n tank/data nas2:backup/data        only show the plan`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("replicate takes a source and a target, not %s", count(len(args), "argument"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.recursive, "recursive", "r", false, "with all filesystems and volumes below the source")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "show the plan and stop")
	f.IntVarP(&o.port, "port", "p", 22, "SSH port of the other system")
	f.StringArrayVarP(&o.identities, "identity", "i", nil, "private key `file`; can be repeated (default: the agent's, and ~/.ssh/id_*)")
	f.BoolVar(&o.sudo, "sudo", false, "run zfs through sudo where the user is not root")
	f.BoolVar(&o.json, "json", false, "JSON lines instead of text, the default where the output is no terminal")
	return cmd
}

// run checks the command line, then replicates.
func (o *replicateOptions) run(cmd *cobra.Command, source, target string) error {
	from, to, err := parseEndpoints(source, target)
	if err != nil {
		return usageError{err}
	}
	if o.port < 1 || o.port > 65535 {
		return usageError{fmt.Errorf("there is no port %d", o.port)}
	}
	if !o.yes && !o.dryRun && !isTerminal(cmd.InOrStdin()) {
		return usageError{errors.New("there is no terminal to ask whether to go on: give --yes to replicate without a question, or --dry-run to see the plan")}
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	var show reporter = newText(from, to, cmd.OutOrStdout(), cmd.ErrOrStderr())
	forProgram := o.json || !isTerminal(cmd.OutOrStdout())
	if forProgram {
		show = newLines(from, to, cmd.OutOrStdout(), cancel)
	}
	err = o.replicate(ctx, from, to, show, func(plan *replication.Plan) error {
		question := "Go on?"
		if forProgram { // the person at the terminal has not seen the plan
			question = summary(plan) + " " + question
		}
		return confirm(ctx, cmd.InOrStdin(), cmd.ErrOrStderr(), question)
	})
	if err != nil {
		show.fail(err)
	}
	return err
}

// replicate connects, plans, asks and runs.
func (o *replicateOptions) replicate(ctx context.Context, from, to endpoint, show reporter, ask func(*replication.Plan) error) error {
	journal, err := openJournal()
	if err != nil {
		return err
	}
	ends, err := o.connect(ctx, from, to)
	if err != nil {
		return err
	}
	defer ends.close()

	task := replication.Task{Source: from.dataset, Target: to.dataset, Recursive: o.recursive, SameSystem: !from.remote() && !to.remote()}
	options := replication.Options{Journal: journal, Report: show.progress, Warn: show.warn}
	plan, err := replication.Prepare(ctx, task, ends.source, ends.target, options)
	if err != nil {
		return err
	}
	show.plan(plan)
	if o.dryRun {
		return nil
	}
	var result replication.Result
	if !plan.Empty() {
		if !o.yes {
			if err := ask(plan); err != nil {
				return err
			}
		}
		result, err = replication.Run(ctx, plan, ends.source, ends.target, options)
		show.stop()
	}
	show.result(result, ends.connections())
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped before the end (%w): what has arrived is kept, and the next run goes on from there", err)
	}
	return err
}

// openJournal opens the list of started processes in the state folder of the user.
func openJournal() (*replication.FileJournal, error) {
	dir, err := stateDir(os.Getenv, os.Geteuid())
	if err != nil {
		return nil, err
	}
	return replication.NewFileJournal(filepath.Join(dir, "processes"))
}

// stateDir is where zferry keeps what must outlive it.
func stateDir(env func(string) string, uid int) (string, error) {
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "zferry"), nil
	}
	if uid == 0 {
		return "/var/lib/zferry", nil
	}
	home := env("HOME")
	if home == "" {
		return "", errors.New("neither XDG_STATE_HOME nor HOME is set: there is no folder to keep state in")
	}
	return filepath.Join(home, ".local", "state", "zferry"), nil
}

// isTerminal tells whether v is a file that is a terminal.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

var errDeclined = errors.New("nothing was changed")

// confirm asks a question and returns nil if the answer is yes.
func confirm(ctx context.Context, in io.Reader, screen io.Writer, question string) error {
	fmt.Fprintf(screen, "%s [y/N] ", question)
	answer := make(chan string, 1)
	// Reading a terminal cannot be called off: where nobody answers, this goroutine ends with the program.
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(screen)
		return context.Cause(ctx)
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return errDeclined
	}
}
