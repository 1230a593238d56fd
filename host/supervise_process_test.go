package host

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	process "github.com/zferry/zferry/plugin"
	"github.com/zferry/zferry/plugin/boundary"
)

// processOptions say what a process of the tests of the supervisor is and does.
type processOptions struct {
	Host    bool   // it is a host with a plugin that does the rest
	Behave  string // see behave
	Version string
}

// TestAsProcess is no test: it is the main function of the plugins and hosts that other tests start.
func TestAsProcess(t *testing.T) {
	if flag.NArg() != 3 {
		return
	}
	var o processOptions
	if err := json.Unmarshal([]byte(flag.Arg(0)), &o); err != nil {
		t.Fatal(err)
	}
	dir := flag.Arg(2)
	// Whatever becomes of the tests, it does not stay.
	time.AfterFunc(2*time.Minute, func() { quit(100) })
	var err error
	if o.Host {
		o.Host = false
		err = hostProcess(t.Context(), o, dir)
	} else {
		err = o.pluginProcess(t.Context(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	quit(process.ExitCode(err))
}

// quit exits at once: with the race detector os.Exit takes a second. Races are looked for in the log, see stop.
func quit(code int) { syscall.Exit(code) }

// command runs TestAsProcess; the folder comes behind.
func (o processOptions) command(t testing.TB) []string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return []string{program, "-test.run=^TestAsProcess$", "--", string(text)}
}

// hostProcess supervises and prints where the plugin is, until it is killed.
func hostProcess(ctx context.Context, o processOptions, dir string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	s, err := NewSupervisor(SupervisorConfig{
		Command:     []string{program, "-test.run=^TestAsProcess$", "--", string(text)},
		Dir:         dir,
		Credentials: func() (string, string, string) { return "unix:///first", "first-token", "" },
		Changed: func(s PluginStatus) {
			if s.State == PluginRunning {
				fmt.Println(s.PID)
			}
		},
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func (o processOptions) pluginProcess(ctx context.Context, dir string) error {
	if done, err := o.misbehave(dir); done || err != nil {
		return err
	}
	p, err := process.OpenProcess(dir)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	switch o.Behave {
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "chatty":
		go chat(p, dir) // ends with the process
	}
	return p.Serve(ctx, &filed{dir: dir, version: o.Version, refuse: o.Behave == "refuse"})
}

// misbehave does what a plugin should not, before the handshake.
func (o processOptions) misbehave(dir string) (done bool, err error) {
	switch o.Behave {
	case "crash":
		for i := range 20 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		fmt.Fprintln(os.Stderr, `{"@level":"error","@message":"no database","@timestamp":7,"path":"/x"}`)
		fmt.Fprint(os.Stderr, `{"@message":5}`) // go-plugin's own log would panic
		quit(7)
	case "quit":
		return true, nil
	case "garbage":
		fmt.Println("hello, world")
		select {}
	case "mute":
		if err := os.WriteFile(filepath.Join(dir, "started"), []byte("started"), 0o600); err != nil {
			return true, err
		}
		select {}
	case "child":
		// It holds the pipes open when the plugin has gone.
		child := exec.Command("sleep", "100")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return true, err
		}
		if err := os.WriteFile(filepath.Join(dir, "child"), fmt.Append(nil, child.Process.Pid), 0o600); err != nil {
			return true, err
		}
		quit(9)
	case "other plugin", "other host":
		return false, otherCertificate(dir, strings.TrimPrefix(o.Behave, "other "))
	}
	return false, nil
}

// otherCertificate puts another certificate in place of that of one end, as the plugin sees it.
func otherCertificate(dir, end string) error {
	other, err := os.MkdirTemp(dir, "other")
	if err != nil {
		return err
	}
	if err := boundary.MakeCertificates(other); err != nil {
		return err
	}
	for _, name := range []string{end + ".crt", end + ".key"} {
		if err := os.Rename(filepath.Join(other, "tls", name), filepath.Join(dir, "tls", name)); err != nil {
			return err
		}
	}
	return nil
}

// chat waits for the test to read from one pipe, writes more than any pipe holds to everything that a host may have held
// the other end of, and says so in another.
func chat(p *process.Process, dir string) {
	if _, err := os.ReadFile(filepath.Join(dir, "go")); err != nil {
		quit(101)
	}
	// What nobody refers to any more is closed here.
	runtime.GC()
	line := strings.Repeat("x", 1023)
	log := slog.New(p.LogHandler())
	for range 1024 {
		fmt.Fprintln(os.Stdout, line)
		fmt.Fprintln(os.Stderr, line)
		log.Info("chat", "line", line)
		if _, err := syscall.Write(2, []byte(line+"\n")); err != nil {
			quit(102)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "done"), []byte("done"), 0o600); err != nil {
		quit(103)
	}
}

// filed is a lifecycle that tells in files what it was told, and takes its state from files.
type filed struct {
	dir, version string
	refuse       bool
}

func (f *filed) put(name, text string) error {
	return boundary.WriteFile(filepath.Join(f.dir, name), []byte(text))
}

func (f *filed) has(name string) bool {
	_, err := os.Stat(filepath.Join(f.dir, name))
	return err == nil
}

func (f *filed) Configure(_ context.Context, s boundary.Settings) error {
	if f.refuse {
		return errors.New("this URL will not do")
	}
	return f.put("configured", s.URL+" "+s.Token+" "+s.CAPEM+" "+s.LogLevel)
}

func (f *filed) Health(context.Context) (boundary.Health, error) {
	h := boundary.Health{Status: "ok", Version: f.version, Draining: f.has("drained")}
	if f.has("busy") {
		h.JobsRunning = 1
	}
	return h, nil
}

func (f *filed) Drain(_ context.Context, within time.Duration) ([]int64, error) {
	return []int64{3, 5}, f.put("drained", within.String())
}
