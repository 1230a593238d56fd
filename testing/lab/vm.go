package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	bootTimeout = 5 * time.Minute
	// How long a machine gets to notice that this process has hung up, before its state is saved.
	partingTime = 400 * time.Millisecond
	// How long packets that were taken off the cable may take to reach the card.
	settleTime = 50 * time.Millisecond
)

// vm is the hardware of a virtual machine.
type vm struct {
	boot    *boot
	proc    *process
	monitor *monitor
	control *control
	serial  *os.File
	// linkWanted tells whether the link is up when the machine is turned on.
	linkWanted func() bool

	mu  sync.Mutex // guards off
	off bool
}

func (v *vm) setOff(off bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.off = off
}

func (v *vm) isOff() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.off
}

func (v *vm) save(ctx context.Context, tag string) error {
	if v.isOff() {
		return errors.New("it is powered off")
	}
	v.control.drop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(partingTime):
	}
	return v.monitor.state(ctx, "savevm", tag)
}

func (v *vm) load(ctx context.Context, tag string) error {
	// A loadvm that goes wrong leaves the machine stopped, so the tag is looked up first.
	saved, err := v.monitor.human(ctx, "info snapshots")
	if err != nil {
		return err
	}
	if !hasTag(saved, tag) {
		return errors.New("no such state was saved")
	}
	v.control.drop()
	if err := v.monitor.state(ctx, "loadvm", tag); err != nil {
		return err
	}
	if err := v.plug(ctx, true); err != nil {
		return err
	}
	// A machine that was off stays stopped after loadvm.
	if err := v.monitor.command(ctx, "cont"); err != nil {
		return err
	}
	v.setOff(false)
	return v.setClock(ctx)
}

// plug connects both network cards, the one to the other machine only if link is set.
func (v *vm) plug(ctx context.Context, link bool) error {
	if err := v.monitor.setLink(ctx, "outside", true); err != nil {
		return err
	}
	return v.monitor.setLink(ctx, "link", link)
}

// setClock corrects the machine's clock, which stood still while its state lay on disk.
func (v *vm) setClock(ctx context.Context) error {
	if _, err := v.control.connect(ctx); err != nil {
		return err
	}
	now := time.Now()
	script := fmt.Sprintf("date -u -s @%d.%09d >/dev/null", now.Unix(), now.Nanosecond())
	if err := v.control.run(ctx, script, nil, io.Discard, io.Discard); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// powerOff stops the processor for good and silences the cards, as seen from everywhere else the end of the machine.
// The emulator itself goes on, because the other one is connected to it.
func (v *vm) powerOff(ctx context.Context) error {
	if v.isOff() {
		return errors.New("it is off already")
	}
	// The cards first: a stopped machine whose card still takes packets takes none of them off the cable in the end, and the
	// other emulator, which waits for that, would stand still with its whole machine.
	for _, card := range []string{"link", "outside"} {
		if err := v.monitor.setLink(ctx, card, false); err != nil {
			return err
		}
	}
	v.setOff(true)
	v.control.drop()
	if err := pause(ctx, settleTime); err != nil {
		return err
	}
	return v.monitor.command(ctx, "stop")
}

func (v *vm) start(ctx context.Context) error {
	if !v.isOff() {
		return errors.New("it is on already")
	}
	from, err := v.serial.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := v.monitor.command(ctx, "system_reset"); err != nil {
		return err
	}
	if err := v.waitReset(ctx); err != nil {
		return err
	}
	if err := v.plug(ctx, v.linkWanted()); err != nil {
		return err
	}
	if err := v.monitor.command(ctx, "cont"); err != nil {
		return err
	}
	v.setOff(false)
	if err := v.waitUp(ctx, from); err != nil {
		return err
	}
	return v.setClock(ctx)
}

// waitReset returns when the reset, which QEMU only takes note of at first, has happened.
func (v *vm) waitReset(ctx context.Context) error {
	for {
		reply, err := v.monitor.execute(ctx, "query-status", nil)
		if err != nil {
			return err
		}
		var state struct {
			Status string `json:"status"`
		}
		if err := json.Unmarshal(reply, &state); err != nil {
			return fmt.Errorf("monitor query-status: %w", err)
		}
		if state.Status == "prelaunch" {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// waitUp reads the serial line from an offset on until the machine says that it is up.
func (v *vm) waitUp(ctx context.Context, from int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("no sign of life within %v", bootTimeout))
	defer cancel()
	ctx, release := v.proc.guard(ctx)
	defer release()
	return waitSerial(ctx, v.serial, from, "lab: "+v.boot.name+" is up")
}

func waitSerial(ctx context.Context, serial io.ReaderAt, from int64, want string) error {
	var seen bytes.Buffer
	for {
		n, err := io.Copy(&seen, io.NewSectionReader(serial, from, 1<<30))
		if err != nil {
			return fmt.Errorf("serial line: %w", err)
		}
		from += n
		text := seen.String()
		if strings.Contains(text, want) {
			return nil
		}
		if strings.Contains(text, "Kernel panic") {
			return errors.New("the kernel gave up: " + lastLines(text, 12))
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("boot: %w; its last words: %s", context.Cause(ctx), lastLines(text, 5))
		}
	}
}

func (v *vm) setLink(ctx context.Context, up bool) error {
	if v.isOff() {
		return nil
	}
	return v.monitor.setLink(ctx, "link", up)
}

// close ends the machine.
func (v *vm) close() {
	v.letGo()
	v.proc.kill()
}

// letGo closes what this process has open of a machine that lives on.
func (v *vm) letGo() {
	v.control.drop()
	if v.monitor != nil {
		_ = v.monitor.conn.Close()
	}
	_ = v.serial.Close()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
