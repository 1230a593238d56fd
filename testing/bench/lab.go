package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zferry/zferry/testing/lab"
)

const (
	labDatasets  = 21
	labSnapshots = 10
	labRounds    = 3
	// The floor is what zfs itself takes; nothing that sends dataset by dataset can be expected below it.
	floor = "zfs send -R | ssh zfs receive"
	ours  = "zferry replicate -r --yes tank/bench root@nas2:backup/bench"
)

// labBench measures on two machines with OpenZFS. States: "empty" has the fixture on nas1 and nothing on nas2, "full" the
// fixture on both and as many snapshots again on nas1.
type labBench struct {
	lab    *lab.Lab
	report *Report
}

func inLab(ctx context.Context, r *Report) (err error) {
	l, err := lab.Start(ctx, lab.Options{Progress: r.Progress})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := l.Close(); err == nil {
			err = cerr
		}
	}()
	b := &labBench{lab: l, report: r}
	if err := b.install(ctx); err != nil {
		return err
	}
	if err := b.fixture(ctx); err != nil {
		return err
	}
	last := strconv.Itoa(labSnapshots)
	full, fullFloor, err := b.pairs(ctx, "empty", "zfs send -R tank/bench@s"+last+" | ssh root@nas2 zfs receive -u backup/bench")
	if err != nil {
		return err
	}
	more, moreFloor, err := b.pairs(ctx, "full", "zfs send -R -I @s"+last+" tank/bench@s"+strconv.Itoa(2*labSnapshots)+" | ssh root@nas2 zfs receive -u backup/bench")
	if err != nil {
		return err
	}
	idle, err := b.idle(ctx)
	if err != nil {
		return err
	}
	r.Add(Paired("lab/full", "s", floor, full, fullFloor))
	r.Add(Paired("lab/idle", "s", floor, idle, fullFloor))
	r.Add(Paired("lab/incremental", "s", strings.Replace(floor, "-R", "-R -I", 1), more, moreFloor))
	return nil
}

// install puts zferry on nas1.
func (b *labBench) install(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "zferry-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "zferry")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/zferry/zferry/cmd/zferry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build zferry: %w: %s", err, out)
	}
	return b.lab.Machine("nas1").Copy(ctx, binary, "/usr/local/bin/zferry", 0o755)
}

// fixture makes a tree of labDatasets datasets with labSnapshots snapshots each, 200 kB of new data in every one, and the
// two states to measure from.
func (b *labBench) fixture(ctx context.Context) error {
	b.report.Note("lab: %d datasets with %d snapshots each, 200 kB of new data in every one; seconds on nas1", labDatasets, labSnapshots)
	b.report.Say("making the fixture")
	if _, err := b.nas1(ctx, fmt.Sprintf("set -e; zfs create tank/bench; for d in $(seq %d); do zfs create tank/bench/d$d; done", labDatasets-1)); err != nil {
		return err
	}
	if err := b.snapshots(ctx, 1); err != nil {
		return err
	}
	if err := b.lab.Save(ctx, "empty"); err != nil {
		return err
	}
	if _, err := b.nas1(ctx, ours); err != nil {
		return err
	}
	if err := b.snapshots(ctx, labSnapshots+1); err != nil {
		return err
	}
	return b.lab.Save(ctx, "full")
}

func (b *labBench) snapshots(ctx context.Context, first int) error {
	_, err := b.nas1(ctx, fmt.Sprintf(`set -e
for s in $(seq %d %d); do
	for d in /tank/bench /tank/bench/d*; do head -c 200000 /dev/urandom > $d/f$s; done
	zfs snapshot -r tank/bench@s$s
done`, first, first+labSnapshots-1))
	return err
}

func (b *labBench) nas1(ctx context.Context, script string) (string, error) {
	return b.lab.Machine("nas1").Run(ctx, script)
}

// seconds times a script on nas1, by the clock there.
func (b *labBench) seconds(ctx context.Context, script string) (float64, error) {
	out, err := b.nas1(ctx, fmt.Sprintf("read begin _ </proc/uptime; { %s; } >/tmp/out 2>&1 || { cat /tmp/out >&2; exit 1; }; read end _ </proc/uptime; echo $begin $end", script))
	if err != nil {
		return 0, err
	}
	var begin, end float64
	if _, err := fmt.Sscan(out, &begin, &end); err != nil {
		return 0, err
	}
	b.report.Say("  %6.1f s  %s", end-begin, script)
	return end - begin, nil
}

// pairs measures zferry and the floor in turn, each from the same state.
func (b *labBench) pairs(ctx context.Context, state, theirs string) (mine, other []float64, err error) {
	for range labRounds {
		for _, x := range []struct {
			script string
			into   *[]float64
		}{{theirs, &other}, {ours, &mine}} {
			if err := b.lab.Load(ctx, state); err != nil {
				return nil, nil, err
			}
			t, err := b.seconds(ctx, x.script)
			if err != nil {
				return nil, nil, err
			}
			*x.into = append(*x.into, t)
		}
	}
	return mine, other, nil
}

// idle measures runs that find nothing new, after the last incremental one.
func (b *labBench) idle(ctx context.Context) ([]float64, error) {
	var list []float64
	for range labRounds {
		t, err := b.seconds(ctx, ours)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}
