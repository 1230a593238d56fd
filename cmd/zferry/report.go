package main

import (
	"fmt"
	"io"
	"os"

	"github.com/zferry/zferry/replication"
)

// reporter shows a replication to a person or to a program.
type reporter interface {
	plan(p *replication.Plan)
	// warn may be called at any time, also while progress is shown.
	warn(message string)
	// progress is called from one goroutine at a time, and not after stop.
	progress(p replication.Progress)
	// stop ends what progress began.
	stop()
	result(r replication.Result, connections int)
	fail(err error)
}

// text is for a person: plan and result on out, and around the bar on screen.
type text struct {
	from, to endpoint
	out      io.Writer
	screen   io.Writer
	bar      *bar
}

// newText returns a reporter for people. If screen is a terminal, it has a progress bar.
func newText(from, to endpoint, out, screen io.Writer) *text {
	t := &text{from: from, to: to, out: out, screen: screen}
	if isTerminal(screen) {
		t.bar = &bar{screen: screen.(*os.File)}
	}
	return t
}

func (t *text) plan(p *replication.Plan) { renderPlan(t.out, p, t.from, t.to) }

func (t *text) warn(message string) {
	if t.bar != nil && t.bar.print("warning: "+message+"\n") {
		return
	}
	fmt.Fprintln(t.screen, "warning:", message)
}

func (t *text) progress(p replication.Progress) {
	if t.bar != nil {
		t.bar.show(p)
	}
}

func (t *text) stop() {
	if t.bar != nil {
		t.bar.stop()
	}
}

func (t *text) result(r replication.Result, connections int) {
	fmt.Fprintln(t.out)
	renderResult(t.out, r, connections)
}

// fail shows nothing: main prints every error.
func (t *text) fail(error) {}
