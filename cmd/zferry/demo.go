package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/testing/lab"
)

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show a replication between two machines with OpenZFS",
		Long: `Starts two machines with OpenZFS, nas1 and nas2, and replicates a tree of datasets from one to the other: whole, then what
has changed, then once more with a cut in the middle. After each run both sides are compared. The machines are built at
the first start, which takes some minutes, and are gone afterwards. Exit code 1 if anything differs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), cmd.OutOrStdout()) },
	}
}

// story is a demo under way.
type story struct {
	lab      *lab.Lab
	out      io.Writer
	terminal bool
	begin    time.Time
}

const (
	demoSource = "tank/demo"
	demoTarget = "backup/demo"
	// demoCut is how much the third run moves, and demoCutAt when it is cut, in bytes.
	demoCut   = 96 << 20
	demoCutAt = 24 << 20
)

func demo(ctx context.Context, out io.Writer) (err error) {
	s := &story{out: out, terminal: isTerminal(out), begin: time.Now()}
	s.say("starting nas1 and nas2")
	if s.lab, err = lab.Start(ctx, lab.Options{Progress: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lab.Close()) }()
	for _, step := range []func(context.Context) error{s.install, s.whole, s.changes, s.cutAndResume} {
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

func (s *story) nas1(ctx context.Context, script string) (string, error) {
	return s.lab.Machine("nas1").Run(ctx, script)
}

func (s *story) install(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := s.lab.Machine("nas1").Copy(ctx, self, "/usr/local/bin/zferry", 0o755); err != nil {
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

// cutAndResume is the third run, which dies in the middle, and the one that goes on from there.
func (s *story) cutAndResume(ctx context.Context) error {
	s.say("a larger change, and the run is killed in the middle")
	if _, err := s.nas1(ctx, fmt.Sprintf("head -c %d /dev/urandom > /tank/demo/files/large && zfs snapshot -r tank/demo@fifth", demoCut)); err != nil {
		return err
	}
	if err := s.lab.Delay(ctx, 20*time.Millisecond, 0); err != nil && !errors.Is(err, lab.ErrUnsupported) {
		return err
	}
	if err := s.killInTheMiddle(ctx); err != nil {
		return err
	}
	if err := s.lab.Delay(ctx, 0, 0); err != nil && !errors.Is(err, lab.ErrUnsupported) {
		return err
	}
	s.say("the next run resumes")
	if err := s.replicate(ctx); err != nil {
		return err
	}
	return s.compare(ctx)
}

// command is the replication as a user of nas1 would type it.
func (s *story) command() string {
	nas2 := s.lab.Machine("nas2")
	return fmt.Sprintf("zferry replicate --recursive --yes --port %d %s root@%s:%s", nas2.Port(), demoSource, nas2.Addr(), demoTarget)
}

// replicate runs zferry on nas1. On a terminal it gets one there, too, and shows its progress bar.
func (s *story) replicate(ctx context.Context) error {
	command := s.command()
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

// filter passes on whole lines, without those that report progress.
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
		if !bytes.Contains(line, []byte(`"type":"progress"`)) {
			fmt.Fprintf(f.out, "%s\n", line)
		}
		f.rest = rest
	}
}

// killInTheMiddle starts a run and kills zferry once enough has moved.
func (s *story) killInTheMiddle(ctx context.Context) error {
	_, err := s.nas1(ctx, fmt.Sprintf(`%s --json > /tmp/run.json 2>&1 & pid=$!
for i in $(seq 1200); do
	moved=$(grep '"type":"progress"' /tmp/run.json | tail -n 1 | sed 's/.*"bytes":\([0-9]*\).*/\1/')
	[ "${moved:-0}" -lt %d ] || break
	kill -0 $pid 2>/dev/null || { cat /tmp/run.json >&2; exit 1; }
	sleep 0.1
done
kill -KILL $pid
wait $pid
[ $? -eq 137 ]`, s.command(), demoCutAt))
	if err != nil {
		return fmt.Errorf("the run that was to be cut: %w", err)
	}
	token := ""
	for deadline := time.Now().Add(20 * time.Second); token == "" && time.Now().Before(deadline); {
		out, err := s.lab.Machine("nas2").Run(ctx, "zfs get -Hpo value receive_resume_token "+demoTarget+"/files")
		if err != nil {
			return err
		}
		token = strings.Trim(out, "-\n")
	}
	if token == "" {
		return errors.New("the cut run left nothing to resume from")
	}
	fmt.Fprintf(s.out, "killed; nas2 keeps what has arrived, with a token of %d characters\n", len(token))
	return nil
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
