package main

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/zferry/zferry/replication"
)

// bar shows progress on a terminal: a line with the bar, and one that says what is under way. It appears with the first
// progress and stays on the screen after stop.
type bar struct {
	screen *os.File

	mu        sync.Mutex // guards the fields below
	last      replication.Progress
	container *mpb.Progress // nil before the first progress and after stop
	line      *mpb.Bar
}

func (b *bar) show(p replication.Progress) {
	b.mu.Lock()
	b.last = p
	if b.container == nil {
		b.beginLocked()
	}
	line := b.line
	b.mu.Unlock()
	// Outside of the lock: the library may wait for a frame, which asks for the latest progress.
	line.SetTotal(p.Total, false)
	line.SetCurrent(p.Bytes)
}

func (b *bar) beginLocked() {
	out := console{cupwriter.New(fromLeft{b.screen}, false)}
	out.SetTermFd(int(b.screen.Fd()))
	b.container = mpb.New(mpb.WithConsoleWriter(out))
	latest := func(show func(replication.Progress) string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string { return show(b.latest()) })
	}
	// No total at first: the library would end a bar that reaches it, and the total is an estimate.
	b.line = b.container.New(0,
		mpb.BarStyle(),
		mpb.PrependDecorators(decor.Percentage(decor.WC{W: 5})),
		mpb.AppendDecorators(latest(func(p replication.Progress) string {
			return size(p.Bytes) + " of " + size(p.Total) + "  " + speed(p)
		})),
		mpb.BarBtmExtender(mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
			_, err := io.WriteString(w, cut(position(b.latest()), s.AvailableWidth)+"\n")
			return err
		})),
	)
}

func (b *bar) latest() replication.Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// print writes a line above the bar, and tells whether there is one.
func (b *bar) print(line string) bool {
	b.mu.Lock()
	container := b.container
	b.mu.Unlock()
	if container == nil {
		return false
	}
	_, err := io.WriteString(container, line)
	return err == nil
}

// stop draws a last time and leaves the bar as it is.
func (b *bar) stop() {
	b.mu.Lock()
	container, line := b.container, b.line
	b.container = nil
	b.mu.Unlock()
	if container == nil {
		return
	}
	line.Abort(false)
	container.Wait()
}

// console is a terminal that has a size, also where nobody told it one.
type console struct{ *cupwriter.Writer }

func (c console) GetTermSize() (width, height int, err error) {
	width, height, err = c.Writer.GetTermSize()
	if width == 0 || height == 0 {
		width, height = 80, 24
	}
	return width, height, err
}

// fromLeft begins every frame at the left: a Ctrl-C that the terminal echoes has moved the cursor.
type fromLeft struct{ io.Writer }

func (f fromLeft) Write(frame []byte) (int, error) {
	n, err := f.Writer.Write(append([]byte("\r"), frame...))
	return max(n-1, 0), err
}

// cut shortens a text to a width.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:max(width-1, 0)]) + "…"
}
