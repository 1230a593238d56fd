package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/testing/lab"
)

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show a replication between two machines with OpenZFS",
		Long: `Starts two machines with OpenZFS, nas1 and nas2, and 'zferry serve' on nas1, and replicates a tree of datasets from one to
the other through the API: whole, then what has changed, then with a cut in the middle, then while the plugin is killed, and
while the host is. After each run both sides are compared. The machines are built at the first start, which takes some
minutes, and are gone afterwards. Exit code 1 if anything differs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), cmd.OutOrStdout()) },
	}
}

// story is a demo under way.
type story struct {
	labServe

	out      io.Writer
	terminal bool
	begin    time.Time
	task     int64
}

const (
	demoSource = "tank/demo"
	demoTarget = "backup/demo"
	// demoLarge is how much the later runs move, and demoCutAt when something is done to them, in bytes.
	demoLarge = 64 << 20
	demoCutAt = 16 << 20
)

func demo(ctx context.Context, out io.Writer) (err error) {
	s := &story{out: out, terminal: isTerminal(out), begin: time.Now()}
	s.say("starting nas1 and nas2")
	if s.lab, err = lab.Start(ctx, lab.Options{Progress: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lab.Close()) }()
	for _, step := range []func(context.Context) error{
		s.prepare, s.serve, s.whole, s.changes, s.cutAndResume, s.pluginKilled, s.hostKilled, s.table,
	} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	s.say("done: both sides are equal")
	return nil
}

func (s *story) say(text string) {
	fmt.Fprintf(s.out, "\n==> %s  (%s)\n", text, time.Since(s.begin).Round(time.Second))
}

func (s *story) prepare(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := s.install(ctx, filepath.Dir(self)); err != nil {
		return err
	}
	_, err = s.nas1(ctx, `set -e
zfs create tank/demo
zfs create tank/demo/files
zfs create -V 32M tank/demo/vol
echo passphrase | zfs create -o encryption=on -o keyformat=passphrase tank/demo/secret
udevadm settle
for s in first second third; do
	head -c 1500000 /dev/urandom > /tank/demo/files/$s
	head -c 300000 /dev/urandom > /tank/demo/secret/$s
	head -c 500000 /dev/urandom | dd of=/dev/zvol/tank/demo/vol conv=notrunc status=none
	sync
	zfs snapshot -r tank/demo@$s
done`)
	return err
}

// serve starts the host, and makes a connection and a task.
func (s *story) serve(ctx context.Context) error {
	s.say("nas1 serves the API; a connection to nas2 and a task are made")
	fmt.Fprintf(s.out, "nas1# %s\n", serveCommand)
	if err := s.start(ctx); err != nil {
		return err
	}
	out, err := s.nas1(ctx, "grep ^ready "+serveLog+"; cat "+defaultState+"/"+keyName)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s(the key is gone with the machine)\n", out)
	connection, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if s.task, err = s.create(ctx, "demo", connection, demoSource, demoTarget); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "connection %d, task %d\n", connection, s.task)
	return nil
}

// whole is the first run: nothing is there yet.
func (s *story) whole(ctx context.Context) error {
	s.say("a tree with filesystems, an encrypted one and a volume, three snapshots each, goes to nas2")
	if err := s.replicate(ctx); err != nil {
		return err
	}
	return s.compare(ctx)
}

// changes is the second run: only what is new is sent.
func (s *story) changes(ctx context.Context) error {
	s.say("data changes, and only the changes are sent")
	if _, err := s.nas1(ctx, `set -e
echo more > /tank/demo/files/more && rm /tank/demo/files/first && echo more >> /tank/demo/secret/second
zfs snapshot -r tank/demo@fourth`); err != nil {
		return err
	}
	if err := s.replicate(ctx); err != nil {
		return err
	}
	return s.compare(ctx)
}

// large makes a change that takes a while to send, starts a run and waits until it is in the middle.
func (s *story) large(ctx context.Context, snapshot string) (job int64, err error) {
	if _, err := s.nas1(ctx, fmt.Sprintf("head -c %d /dev/urandom > /tank/demo/files/large && zfs snapshot -r tank/demo@%s", demoLarge, snapshot)); err != nil {
		return 0, err
	}
	if err := s.slow(ctx, 20*time.Millisecond); err != nil {
		return 0, err
	}
	if job, err = s.run(ctx, s.task); err != nil {
		return 0, err
	}
	fmt.Fprintf(s.out, "nas1# zferry call replication.run %d\n%d\n", s.task, job)
	return job, s.moved(ctx, job, demoCutAt)
}

// slow delays the link between the machines; where it cannot be, the runs are over sooner.
func (s *story) slow(ctx context.Context, delay time.Duration) error {
	if err := s.lab.Delay(ctx, delay, 0); err != nil && !errors.Is(err, lab.ErrUnsupported) {
		return err
	}
	return nil
}

// cutAndResume aborts a run in the middle; the next one goes on from there.
func (s *story) cutAndResume(ctx context.Context) error {
	s.say("a larger change, and the run is aborted in the middle")
	job, err := s.large(ctx, "fifth")
	if err != nil {
		return err
	}
	if _, err := s.nas1(ctx, fmt.Sprintf("zferry jobs abort %d", job)); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "nas1# zferry jobs abort %d\n", job)
	j, err := s.ended(ctx, job)
	if err != nil {
		return err
	}
	if j.State != "ABORTED" {
		return fmt.Errorf("job %d is %s", job, j.State)
	}
	token, err := s.lab.Machine("nas2").Run(ctx, "zfs get -Hpo value receive_resume_token "+demoTarget+"/files")
	if err != nil {
		return err
	}
	if token = strings.Trim(token, "-\n"); token == "" {
		return errors.New("the aborted run left nothing to resume from")
	}
	fmt.Fprintf(s.out, "job %d is %s; nas2 keeps what has arrived, with a token of %d characters\n", job, j.State, len(token))
	if err := s.slow(ctx, 0); err != nil {
		return err
	}
	s.say("the next run resumes")
	if err := s.replicate(ctx); err != nil {
		return err
	}
	return s.compare(ctx)
}

// pluginKilled kills what replicates: the host starts it again, and the task starts once more by itself.
func (s *story) pluginKilled(ctx context.Context) error {
	s.say("the plugin is killed in the middle of a run")
	job, err := s.large(ctx, "sixth")
	if err != nil {
		return err
	}
	if _, err := s.nas1(ctx, "pkill -KILL -x zferry-plugin"); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "nas1# pkill -KILL zferry-plugin")
	j, err := s.ended(ctx, job)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%v\n", j.failure())
	if err := s.slow(ctx, 0); err != nil {
		return err
	}
	again, err := s.next(ctx, job)
	if err != nil {
		return err
	}
	if err := s.watch(ctx, again); err != nil {
		return err
	}
	return s.compare(ctx)
}

// next waits for the job that follows another.
func (s *story) next(ctx context.Context, after int64) (int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the task did not start by itself"))
	defer cancel()
	for {
		list, err := s.jobs(ctx)
		if err == nil && len(list) > 0 && list[0].ID > after {
			return list[0].ID, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// hostKilled kills the host: the plugin works on, and the next host finds it.
func (s *story) hostKilled(ctx context.Context) error {
	s.say("the host is killed in the middle of a run, and started again")
	job, err := s.large(ctx, "seventh")
	if err != nil {
		return err
	}
	if _, err := s.nas1(ctx, "pkill -KILL -x zferry"); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "nas1# pkill -KILL zferry\nnas1# %s\n", serveCommand)
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.slow(ctx, 0); err != nil {
		return err
	}
	if err := s.watch(ctx, job); err != nil {
		return err
	}
	return s.compare(ctx)
}

// table shows what has run.
func (s *story) table(ctx context.Context) error {
	s.say("what has run")
	out, err := s.nas1(ctx, `script -qec "stty cols 160 rows 40; zferry jobs" /dev/null`)
	fmt.Fprint(s.out, strings.ReplaceAll(out, "\r", ""))
	return err
}

// replicate runs the task and follows its job.
func (s *story) replicate(ctx context.Context) error {
	job, err := s.run(ctx, s.task)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "nas1# zferry call replication.run %d\n%d\n", s.task, job)
	return s.watch(ctx, job)
}

// watch follows a job by its events. On a terminal it gets one there, too, and shows a progress bar.
func (s *story) watch(ctx context.Context, job int64) error {
	command := fmt.Sprintf("zferry watch %d", job)
	fmt.Fprintf(s.out, "nas1# %s\n", command)
	var stderr bytes.Buffer
	out := io.Writer(&filter{out: s.out})
	if s.terminal {
		command = fmt.Sprintf(`script -qec "stty cols 110 rows 40; %s" /dev/null`, command)
		out = s.out
	}
	if err := s.lab.Machine("nas1").RunIn(ctx, command, strings.NewReader(""), out, &stderr); err != nil {
		return fmt.Errorf("replication: %w %s", err, stderr.String())
	}
	return nil
}

// filter passes on whole lines, without those of a job that is still on its way.
type filter struct {
	out  io.Writer
	rest []byte
}

func (f *filter) Write(p []byte) (int, error) {
	f.rest = append(f.rest, p...)
	for {
		line, rest, found := bytes.Cut(f.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		if !bytes.Contains(line, []byte(`"state":"RUNNING"`)) {
			fmt.Fprintf(f.out, "%s\n", line)
		}
		f.rest = rest
	}
}

// compare holds GUIDs of all snapshots and checksums of all data of both sides against each other.
func (s *story) compare(ctx context.Context) error {
	for _, what := range []struct{ name, script string }{
		{"GUIDs of snapshots", `zfs list -Hp -t snapshot -o name,guid -r ROOT | sed 's#^ROOT##' | sort`},
		{"checksums of files and the volume", `set -e
echo passphrase | zfs load-key ROOT/secret 2>/dev/null || true
for d in files secret; do
	m=$(zfs get -Ho value mounted ROOT/$d)
	[ $m = yes ] || zfs mount -o ro ROOT/$d
	(cd $(zfs get -Ho value mountpoint ROOT/$d) && find . -type f -exec sha256sum {} + | sed "s#\./#$d/#" | sort -k 2)
	[ $m = yes ] || zfs unmount ROOT/$d
done
udevadm settle
sha256sum < /dev/zvol/ROOT/vol`},
	} {
		var sides [2]string
		for i, side := range []struct{ machine, root string }{{"nas1", demoSource}, {"nas2", demoTarget}} {
			out, err := s.lab.Machine(side.machine).Run(ctx, strings.ReplaceAll(what.script, "ROOT", side.root))
			if err != nil {
				return fmt.Errorf("%s on %s: %w", what.name, side.machine, err)
			}
			sides[i] = out
		}
		if sides[0] != sides[1] {
			return fmt.Errorf("%s differ\nnas1:\n%s\nnas2:\n%s", what.name, sides[0], sides[1])
		}
		fmt.Fprintf(s.out, "%s: %d, equal\n", what.name, strings.Count(sides[0], "\n"))
	}
	return nil
}
