package replication_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/testing/fakezfs"
	"github.com/zferry/zferry/zfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is two systems in process, with pools tank and backup.
type pair struct {
	t              *testing.T
	src, dst       *fakezfs.System
	source, target replication.Side
	options        replication.Options
	ran            map[*fakezfs.System][][]string // commands of the last run

	mu       sync.Mutex
	warnings []string
	reports  []replication.Progress
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, src: fakezfs.New("tank"), dst: fakezfs.New("backup")}
	p.source = replication.Side{ZFS: zfs.New(p.src, zfs.Options{}), Proc: p.src}
	p.target = replication.Side{Name: "root@nas2:22", ZFS: zfs.New(p.dst, zfs.Options{}), Proc: p.dst}
	journal, err := replication.NewFileJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p.options = replication.Options{
		Journal: journal,
		Warn: func(text string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.warnings = append(p.warnings, text)
		},
		Report: func(r replication.Progress) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.reports = append(p.reports, r)
		},
	}
	return p
}

// on runs commands, a line each.
func (p *pair) on(s *fakezfs.System, script string) {
	p.t.Helper()
	for line := range strings.Lines(script) {
		argv := strings.Fields(line)
		if len(argv) == 0 {
			continue
		}
		if _, stderr, err := s.Output(p.t.Context(), argv); err != nil {
			p.t.Fatalf("%s: %v: %s", strings.TrimSpace(line), err, stderr)
		}
	}
}

func (p *pair) prepare() (*replication.Plan, error) {
	p.src.ForgetCommands()
	p.dst.ForgetCommands()
	task := replication.Task{Source: "tank/a", Target: "backup/a", Recursive: true}
	return replication.Prepare(p.t.Context(), task, p.source, p.target, p.options)
}

func (p *pair) run(ctx context.Context) (replication.Result, error) {
	p.t.Helper()
	plan, err := p.prepare()
	if err != nil {
		p.t.Fatal(err)
	}
	return replication.Run(ctx, plan, p.source, p.target, p.options)
}

func (p *pair) mustRun() replication.Result {
	p.t.Helper()
	res, err := p.run(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.ran = map[*fakezfs.System][][]string{p.src: p.src.Commands(), p.dst: p.dst.Commands()}
	p.sameSnapshots()
	return res
}

// guids lists name and GUID of the snapshots below root, root cut off.
func (p *pair) guids(s *fakezfs.System, root string) []string {
	p.t.Helper()
	out, stderr, err := s.Output(p.t.Context(), []string{"zfs", "list", "-Hp", "-t", "snapshot", "-o", "name,guid", "-r", root})
	if err != nil {
		p.t.Fatalf("%v: %s", err, stderr)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		list = append(list, strings.TrimPrefix(strings.TrimSpace(line), root))
	}
	slices.Sort(list)
	return list
}

func (p *pair) sameSnapshots() {
	p.t.Helper()
	if d := cmp.Diff(p.guids(p.src, "tank/a"), p.guids(p.dst, "backup/a")); d != "" {
		p.t.Errorf("snapshots (-source +target):\n%s", d)
	}
}

// count is how many commands began with words.
func count(commands [][]string, words ...string) int {
	n := 0
	for _, argv := range commands {
		if len(argv) > len(words) && slices.Equal(argv[1:len(words)+1], words) {
			n++
		}
	}
	return n
}

const tree = `
	zfs create tank/a
	zfs create tank/a/files
	zfs create -V 64M tank/a/vol
	zfs fake-write tank/a/files 3000000
	zfs fake-write tank/a/vol 1000000
	zfs snapshot -r tank/a@s1
	zfs fake-write tank/a/files 2000000
	zfs snapshot -r tank/a@s2
	zfs snapshot -r tank/a@s3
`

func TestFullThenIncrementalThenIdle(t *testing.T) {
	p := newPair(t)
	p.on(p.src, tree)

	res := p.mustRun()
	if res.Datasets != 3 || res.Snapshots != 9 || res.Streams != 6 || res.Bytes < 6_000_000 {
		t.Errorf("first run: %+v", res)
	}
	// One channel for each dataset: its full and its -I stream follow each other into two receives.
	if n := count(p.ran[p.dst], "receive"); n != 6 {
		t.Errorf("%d receives, want 6", n)
	}

	p.on(p.src, "zfs fake-write tank/a/files 500000\nzfs snapshot -r tank/a@s4\nzfs snapshot -r tank/a@s5")
	res = p.mustRun()
	if res.Datasets != 3 || res.Snapshots != 6 || res.Streams != 3 {
		t.Errorf("incremental run: %+v", res)
	}
	for _, s := range []*fakezfs.System{p.src, p.dst} {
		if n := count(p.ran[s], "list"); n != 2 {
			t.Errorf("%d listings, want 2 (decisions 23): %v", n, p.ran[s])
		}
	}

	res = p.mustRun()
	if res.Streams != 0 {
		t.Errorf("idle run: %+v", res)
	}
	if len(p.ran[p.src]) != 2 || len(p.ran[p.dst]) != 2 {
		t.Errorf("idle run: %v", p.ran)
	}
	if len(p.warnings) != 0 {
		t.Errorf("warnings: %v", p.warnings)
	}
	p.journalIsEmpty()
}

func (p *pair) journalIsEmpty() {
	p.t.Helper()
	list, _, err := p.options.Journal.List()
	if err != nil || len(list) > 0 {
		p.t.Errorf("journal: %v, %v", list, err)
	}
}

func TestCutRunResumesWithFewerBytes(t *testing.T) {
	for _, end := range []string{"send", "receive"} {
		t.Run(end+" killed", func(t *testing.T) {
			p := newPair(t)
			p.on(p.src, "zfs create tank/a\nzfs fake-write tank/a 8000000\nzfs snapshot tank/a@s1\nzfs fake-write tank/a 10\nzfs snapshot tank/a@s2")
			victim := map[string]*fakezfs.System{"send": p.src, "receive": p.dst}[end]
			if err := victim.SetSwitches(fakezfs.Switches{Die: map[string]int64{end: 5_000_000}}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.run(t.Context()); err == nil {
				t.Fatal("no error")
			}
			p.journalIsEmpty()
			if err := victim.SetSwitches(fakezfs.Switches{}); err != nil {
				t.Fatal(err)
			}
			plan, err := p.prepare()
			if err != nil {
				t.Fatal(err)
			}
			if k := plan.Datasets[0].Steps[0].Kind; k != replication.Resumed {
				t.Errorf("the next run begins %s", k)
			}
			total, known := plan.Bytes()
			if !known || total > 5_000_000 {
				t.Errorf("estimate %d, %v", total, known)
			}
			res := p.mustRun()
			if res.Bytes > 5_000_000 {
				t.Errorf("%d bytes moved by a resumed run", res.Bytes)
			}
			// The estimate of a resumed stream is of what is left, not of the whole.
			if total < res.Bytes*8/10 || total > res.Bytes*12/10 {
				t.Errorf("estimate %d, moved %d", total, res.Bytes)
			}
		})
	}
}

func TestCancelReturnsTheCause(t *testing.T) {
	p := newPair(t)
	p.on(p.src, "zfs create tank/a\nzfs fake-write tank/a 50000000\nzfs snapshot tank/a@s1")
	if err := p.src.SetSwitches(fakezfs.Switches{Rate: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("stopped by the user")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(700*time.Millisecond, func() { cancel(cause) })
	begin := time.Now()
	_, err := p.run(ctx)
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
	p.journalIsEmpty()
}

func TestProgressIsReportedEverySecond(t *testing.T) {
	p := newPair(t)
	p.on(p.src, "zfs create tank/a\nzfs fake-write tank/a 5000000\nzfs snapshot tank/a@s1")
	if err := p.src.SetSwitches(fakezfs.Switches{Rate: 2_000_000}); err != nil {
		t.Fatal(err)
	}
	p.mustRun()
	if len(p.reports) < 4 {
		t.Fatalf("%d reports in 2.5 s", len(p.reports))
	}
	last := p.reports[len(p.reports)-1]
	if last.Datasets != 1 || last.Snapshots != 1 || last.Bytes < 5_000_000 || last.Bytes != last.Total {
		t.Errorf("last report %+v", last)
	}
	for i, r := range p.reports {
		if i > 0 && (r.Elapsed-p.reports[i-1].Elapsed > time.Second || r.Bytes < p.reports[i-1].Bytes) {
			t.Errorf("report %d: %+v after %+v", i, r, p.reports[i-1])
		}
		if r.Bytes > 1_000_000 && r.Bytes < 4_000_000 && (r.Rate <= 0 || r.Left <= 0) {
			t.Errorf("no rate or time left in the middle: %+v", r)
		}
	}
}

// TestRefusalsChangeNothing runs what cannot work, on real listings, and compares both sides before and after.
func TestRefusalsChangeNothing(t *testing.T) {
	const start = "zfs create tank/a\nzfs fake-write tank/a 1000\nzfs snapshot tank/a@s1\nzfs snapshot tank/a@s2"
	tests := []struct {
		name           string
		source, target string // commands on each side
		dst            fakezfs.Switches
		want           string
		kind           error
	}{
		{name: "source missing", source: "zfs create tank/b", want: "cannot open 'tank/a': dataset does not exist", kind: zfs.ErrNotExist},
		{name: "no snapshots", source: "zfs create tank/a", want: "does not have any matching snapshots"},
		{name: "target with data, no common snapshot", source: start, target: "zfs create backup/a\nzfs fake-write backup/a 5000000", want: "has data"},
		{name: "foreign snapshots only", source: start, target: "zfs create backup/a\nzfs snapshot backup/a@x", want: "No incremental base"},
		{name: "a volume there", source: start, target: "zfs create -V 1M backup/a", want: "is a volume"},
		{name: "no room", source: start + "\nzfs fake-write tank/a 9000000\nzfs snapshot tank/a@big", target: "zfs fake-capacity backup 2000000", want: "has room for"},
		{name: "no zfs there", source: start, dst: fakezfs.Switches{NoZFS: true}, want: "zfs", kind: zfs.ErrNoZFS},
		{name: "no right to receive", source: start, dst: fakezfs.Switches{Deny: []string{"receive"}}, want: "permission denied", kind: zfs.ErrPermission},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t)
			p.on(p.src, tt.source)
			p.on(p.dst, tt.target)
			before := p.everything()
			if err := p.dst.SetSwitches(tt.dst); err != nil {
				t.Fatal(err)
			}
			plan, err := p.prepare()
			if err == nil {
				_, err = replication.Run(t.Context(), plan, p.source, p.target, p.options)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err := p.dst.SetSwitches(fakezfs.Switches{}); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, p.everything()); d != "" {
				t.Errorf("changed:\n%s", d)
			}
		})
	}
}

// everything lists all datasets and snapshots of both sides.
func (p *pair) everything() string {
	p.t.Helper()
	var all string
	for _, s := range []*fakezfs.System{p.src, p.dst} {
		out, _, err := s.Output(p.t.Context(), []string{"zfs", "list", "-Hp", "-t", "all", "-o", "name,guid,used,receive_resume_token"})
		if err != nil {
			p.t.Fatal(err)
		}
		all += string(out)
	}
	return all
}

func TestWrittenAtTheTargetIsRolledBackWithAWarning(t *testing.T) {
	p := newPair(t)
	p.on(p.src, "zfs create tank/a\nzfs fake-write tank/a 1000\nzfs snapshot tank/a@s1")
	p.mustRun()
	p.on(p.dst, "zfs fake-write backup/a 4096")
	p.on(p.src, "zfs fake-write tank/a 1000\nzfs snapshot tank/a@s2")
	p.mustRun()
	if len(p.warnings) != 1 || !strings.Contains(p.warnings[0], "rolling back to backup/a@s1") {
		t.Errorf("warnings: %v", p.warnings)
	}
}

func TestMissingParentsAreCreated(t *testing.T) {
	p := newPair(t)
	p.on(p.src, "zfs create tank/a\nzfs fake-write tank/a 1000\nzfs snapshot tank/a@s1")
	plan, err := replication.Prepare(t.Context(), replication.Task{Source: "tank/a", Target: "backup/x/y/a"}, p.source, p.target, p.options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replication.Run(t.Context(), plan, p.source, p.target, p.options); err != nil {
		t.Fatal(err)
	}
	if got := p.guids(p.dst, "backup/x/y/a"); len(got) != 1 {
		t.Errorf("snapshots: %v", got)
	}
}

func TestEncryptedIsSentRaw(t *testing.T) {
	p := newPair(t)
	p.on(p.src, "zfs create tank/a\nzfs create -o encryption=on -o keyformat=passphrase tank/a/enc\nzfs fake-write tank/a/enc 100000\nzfs snapshot -r tank/a@s1\nzfs snapshot -r tank/a@s2")
	p.mustRun()
	out, _, err := p.dst.Output(t.Context(), []string{"zfs", "get", "-Hpo", "value", "encryption", "backup/a/enc"})
	if err != nil || strings.TrimSpace(string(out)) == "off" {
		t.Errorf("encryption %s, %v", out, err)
	}
}

func TestLeftoverIsEndedAtTheNextStart(t *testing.T) {
	p := newPair(t)
	p.on(p.src, "zfs create tank/a\nzfs fake-write tank/a 3000000\nzfs snapshot tank/a@s1")
	// A run of another process of ours, gone since, left a receive on the far side that holds the dataset.
	pr, pw := newBlockingStream()
	defer pw()
	started := make(chan replication.Process, 1)
	done := make(chan struct{})
	go func() { // ends when the leftover is ended
		defer close(done)
		_, _ = p.dst.Stream(context.WithoutCancel(t.Context()), [][]string{{"zfs", "receive", "-s", "-u", "backup/a"}}, pr, nil, func(pid int, start string) error {
			started <- replication.Process{Side: p.target.Name, PID: pid, Start: start, Command: "zfs receive backup/a", Dataset: "backup/a"}
			return nil
		})
	}()
	if err := p.addAsOfADeadOwner(<-started); err != nil {
		t.Fatal(err)
	}
	p.mustRun()
	<-done
	p.journalIsEmpty()
	if len(p.warnings) == 0 || !strings.Contains(p.warnings[0], "ended a process that an earlier run left on root@nas2:22") {
		t.Errorf("warnings: %v", p.warnings)
	}
}
