package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/zferry/zferry/plugin/boundary"
)

// TestAsProcess is no test: it is the main function of the processes that the tests below start.
func TestAsProcess(t *testing.T) {
	if flag.NArg() != 2 {
		return
	}
	mode, dir := flag.Arg(0), flag.Arg(1)
	p, err := OpenProcess(dir)
	if err == nil {
		switch mode {
		case "serve":
			err = p.Serve(t.Context(), idle{})
		case "unconfigured":
			p.configureTime = time.Millisecond
			err = p.Serve(t.Context(), idle{})
		case "output":
			err = writeEverywhere(p)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(ExitCode(err))
}

// asProcess is the command that runs TestAsProcess.
func asProcess(t *testing.T, mode, dir string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(program, "-test.run=^TestAsProcess$", "--", mode, dir)
}

type idle struct{}

func (idle) Configure(context.Context, boundary.Settings) error { return nil }

func (idle) Health(context.Context) (boundary.Health, error) {
	return boundary.Health{Status: "ok", Version: "1"}, nil
}

func (idle) Drain(context.Context, time.Duration) ([]int64, error) { return nil, nil }

func TestProcessRefusals(t *testing.T) {
	free, held, launched := t.TempDir(), t.TempDir(), t.TempDir()
	lock, err := boundary.TakeLock(held)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := boundary.MakeCertificates(launched); err != nil {
		t.Fatal(err)
	}
	cookie := "ZFERRY_PLUGIN=2f0c6a7e"
	tests := []struct {
		name, mode, dir, cookie string
		code                    int
		want                    string
	}{
		{name: "by hand", mode: "serve", dir: free, code: 2, want: "this is a plugin: start it with 'zferry serve'"},
		{name: "wrong cookie", mode: "serve", dir: free, cookie: "ZFERRY_PLUGIN=1", code: 2, want: "this is a plugin"},
		{name: "no certificates", mode: "serve", dir: free, cookie: cookie, code: 1, want: "read the plugin's certificate"},
		{name: "second in the folder", mode: "serve", dir: held, cookie: cookie, code: 3, want: fmt.Sprintf("another plugin works in %s, pid %d", held, os.Getpid())},
		{name: "never configured", mode: "unconfigured", dir: launched, cookie: cookie, code: 1, want: "no host has configured this plugin within 1ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := asProcess(t, tt.mode, tt.dir)
			cmd.Env = append(os.Environ(), tt.cookie)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			exit, ok := errors.AsType[*exec.ExitError](cmd.Run())
			if !ok || exit.ExitCode() != tt.code || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("exit %v, want %d; stderr: %s", exit, tt.code, stderr.String())
			}
		})
	}
}

// writeEverywhere writes in every way a process can, before and after it has turned to its log.
func writeEverywhere(p *Process) error {
	// What go-plugin does.
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	os.Stdout, os.Stderr = writer, writer
	log := slog.New(p.LogHandler())
	log.Info("before")
	if err := p.takeOutput(); err != nil {
		return err
	}
	if err := reader.Close(); err != nil { // as when the host dies
		return err
	}
	log.Info("after")
	fmt.Fprintln(os.Stdout, "to stdout")
	fmt.Fprintln(os.Stderr, "to stderr")
	child := exec.Command("sh", "-c", "echo to inherited; cat")
	child.Stdin, child.Stdout, child.Stderr = os.NewFile(0, ""), os.Stdout, os.Stderr
	return child.Run()
}

func TestTakeOutput(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, boundary.LogName)
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A big log is put aside.
	if err := os.Truncate(path, maxLog+1); err != nil {
		t.Fatal(err)
	}
	cmd := asProcess(t, "output", dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("to cat\n"), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v; stderr: %s", err, stderr.String())
	}
	if stdout.Len() > 0 || !strings.Contains(stderr.String(), `"before"`) || strings.Contains(stderr.String(), `"after"`) {
		t.Errorf("the host got %q and %q", stdout.String(), stderr.String())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], `"@message":"after"`) ||
		lines[1] != "to stdout" || lines[2] != "to stderr" || lines[3] != "to inherited" {
		t.Errorf("the log has %q", lines)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log's mode: %v, %v", info, err)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != maxLog+1 {
		t.Errorf("the old log: %v, %v", info, err)
	}
}

// TestLogFormat holds style of go-plugin's hosts: three texts with fixed names, the time in one layout.
func TestLogFormat(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log := slog.New(newLogHandler(&out, &level))
	log.Debug("not shown")
	level.Set(slog.LevelDebug)
	log.Debug("sent", "bytes", 7, "time", 1, "level", 2, "msg", 3, "@message", 4, "@level", 5, "@timestamp", 6,
		slog.Group("group", "level", 7))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if line["@message"] != "sent" || line["@level"] != "debug" || line["bytes"] != 7.0 {
		t.Errorf("got %v", line)
	}
	when, _ := line["@timestamp"].(string)
	if _, err := time.Parse("2006-01-02T15:04:05.000000Z07:00", when); err != nil {
		t.Error(err)
	}
}

// TestGoPluginsOwnClient shows that a host that uses go-plugin in the ordinary way can launch the plugin, find it again
// and end it.
func TestGoPluginsOwnClient(t *testing.T) {
	dir := t.TempDir()
	if err := boundary.MakeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	config := func() *goplugin.ClientConfig {
		tls, err := boundary.HostTLS(dir)
		if err != nil {
			t.Fatal(err)
		}
		return &goplugin.ClientConfig{
			HandshakeConfig:  boundary.Handshake(),
			Plugins:          boundary.Plugins(nil),
			AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
			TLSConfig:        tls,
			SkipHostEnv:      true,
			Logger:           hclog.NewNullLogger(),
		}
	}
	dispense := func(client *goplugin.Client) boundary.Lifecycle {
		protocol, err := client.Client()
		if err != nil {
			t.Fatal(err)
		}
		for name := range boundary.Plugins(nil) {
			plugin, err := protocol.Dispense(name)
			if err != nil {
				t.Fatal(err)
			}
			return plugin.(boundary.Lifecycle)
		}
		return nil
	}

	launch := config()
	launch.Cmd = asProcess(t, "serve", dir)
	launch.Cmd.Env = []string{goplugin.EnvUnixSocketDir + "=" + dir}
	first := goplugin.NewClient(launch)
	t.Cleanup(first.Kill)
	plugin := dispense(first)
	if err := plugin.Configure(t.Context(), boundary.Settings{LogLevel: "loud"}); err == nil || !strings.Contains(err.Error(), "loud") {
		t.Errorf("configure with a wrong level: %v", err)
	}
	if err := plugin.Configure(t.Context(), boundary.Settings{LogLevel: "WARN"}); err != nil {
		t.Error(err)
	}

	again := config()
	again.Reattach = first.ReattachConfig()
	second := goplugin.NewClient(again)
	if health, err := dispense(second).Health(t.Context()); err != nil || health.Version != "1" {
		t.Errorf("health after it was found again: %+v, %v", health, err)
	}
	began := time.Now()
	second.Kill()
	if err := boundary.LockHolder(dir); err != nil || time.Since(began) > 20*time.Second {
		t.Errorf("the plugin did not end by itself: %v after %v", err, time.Since(began))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "plugin[0-9]*")); err != nil || len(left) > 0 {
		t.Errorf("sockets are left: %v, %v", left, err)
	}
}
