package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How often a build that says nothing shows that it is alive.
const heartbeat = 20 * time.Second

// runGuarded runs a command under recipe/guard.sh and shows its progress. The guard ends the work when its standard
// input does, which happens even when this process is killed.
func runGuarded(ctx context.Context, progress io.Writer, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close
	report := newReporter(progress)
	cmd.Stdout, cmd.Stderr = report, report
	err = cmd.Run()
	report.close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(report.tail.String(), 15))
	}
	return nil
}

// reporter passes on the milestones among the lines of a build, with the time since its start.
type reporter struct {
	progress io.Writer
	began    time.Time
	tail     tailBuffer
	pipe     *io.PipeWriter
	done     sync.WaitGroup
	quit     chan struct{}

	mu   sync.Mutex // guards last and writes to progress
	last time.Time
	step string
}

func newReporter(progress io.Writer) *reporter {
	in, out := io.Pipe()
	now := time.Now()
	r := &reporter{progress: progress, began: now, last: now, pipe: out, quit: make(chan struct{}), tail: tailBuffer{max: 8192}}
	r.done.Go(func() { r.read(in) })
	r.done.Go(r.beat)
	return r
}

func (r *reporter) Write(p []byte) (int, error) { return r.pipe.Write(p) }

func (r *reporter) close() {
	close(r.quit)
	_ = r.pipe.Close()
	r.done.Wait()
}

func (r *reporter) read(in io.Reader) {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		r.tail.Write([]byte(line)) //nolint:errcheck // cannot fail
		if step, ok := milestone(line); ok {
			r.show(step)
		}
		if errors.Is(err, io.EOF) {
			return
		}
	}
}

// milestone recognises the lines of the recipe and of mmdebstrap that tell people something.
func milestone(line string) (string, bool) {
	line = strings.TrimSpace(line)
	if step, ok := strings.CutPrefix(line, "lab: "); ok {
		return step, true
	}
	for _, known := range []string{"downloading packages", "extracting archives", "installing essential", "installing remaining", "cleaning package lists"} {
		if step, ok := strings.CutPrefix(line, "I: "); ok && strings.HasPrefix(step, known) {
			return strings.TrimSuffix(step, "..."), true
		}
	}
	return "", false
}

func (r *reporter) show(step string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.step, r.last = step, time.Now()
	fmt.Fprintf(r.progress, "lab: %5s %s\n", time.Since(r.began).Round(time.Second), step)
}

func (r *reporter) beat() {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-tick.C:
			r.mu.Lock()
			step, quiet := r.step, time.Since(r.last) >= heartbeat
			r.mu.Unlock()
			if quiet {
				r.show(step)
			}
		}
	}
}
