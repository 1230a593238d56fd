package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/zferry/zferry/replication"
)

func TestStateDir(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		uid  int
		want string
	}{
		{"set", map[string]string{"XDG_STATE_HOME": "/s", "HOME": "/h"}, 1000, "/s/zferry"},
		{"set for root", map[string]string{"XDG_STATE_HOME": "/s"}, 0, "/s/zferry"},
		{"relative, which the specification ignores", map[string]string{"XDG_STATE_HOME": "s", "HOME": "/h"}, 1000, "/h/.local/state/zferry"},
		{"root", map[string]string{"HOME": "/root"}, 0, "/var/lib/zferry"},
		{"user", map[string]string{"HOME": "/h"}, 1000, "/h/.local/state/zferry"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := stateDir(func(key string) string { return tt.env[key] }, tt.uid)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	if dir, err := stateDir(func(string) string { return "" }, 1000); err == nil {
		t.Errorf("got %q without a home", dir)
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]error{"y\n": nil, " YES \n": nil, "yes": nil, "n\n": errDeclined, "\n": errDeclined, "": errDeclined, "yep\n": errDeclined} {
		var screen strings.Builder
		if err := confirm(t.Context(), strings.NewReader(answer), &screen, "Go on?"); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", answer, err, want)
		}
		if screen.String() != "Go on? [y/N] " {
			t.Errorf("asked %q", screen.String())
		}
	}
	// Ctrl-C while the question stands.
	in, out := io.Pipe()
	defer out.Close()
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	if err := confirm(ctx, in, io.Discard, "Go on?"); !errors.Is(err, stopped) {
		t.Errorf("cancelled: %v", err)
	}
}

// broken is an output whose reader has gone.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestLinesReportsABrokenOutput(t *testing.T) {
	var got error
	newLines(endpoint{}, endpoint{}, broken{}, func(err error) { got = err }).progress(replication.Progress{})
	if !errors.Is(got, io.ErrClosedPipe) {
		t.Errorf("got %v", got)
	}
}
