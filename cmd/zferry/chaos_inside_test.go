package main

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zferry/zferry/host"
	"github.com/zferry/zferry/plugin"
	"github.com/zferry/zferry/plugin/boundary"
)

// cord joins a Unix socket to another one until it is cut, at once and for both ends.
type cord struct {
	path     string
	target   func() string
	listener net.Listener
	work     sync.WaitGroup

	mu   sync.Mutex // guards the fields below
	open map[net.Conn]bool
	shut bool // new connections are closed at once
}

func newCord(t testing.TB, path string, target func() string) *cord {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := &cord{path: path, target: target, listener: l, open: make(map[net.Conn]bool)}
	c.work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.work.Go(func() { c.carry(near) })
		}
	})
	return c
}

// hold notes a connection and tells whether it may be used.
func (c *cord) hold(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return false
	}
	c.open[conn] = true
	return true
}

func (c *cord) carry(near net.Conn) {
	defer near.Close()
	if !c.hold(near) {
		return
	}
	far, err := net.Dial("unix", c.target())
	if err != nil {
		return
	}
	defer far.Close()
	if !c.hold(far) {
		return
	}
	var copies sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		copies.Go(func() {
			_, _ = io.Copy(way[1], way[0]) // however it ends, the other way does too
			_ = near.Close()
			_ = far.Close()
		})
	}
	copies.Wait()
}

// part cuts the connections that there are, and lets nobody in before join.
func (c *cord) part() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	for conn := range c.open {
		_ = conn.Close()
	}
	clear(c.open)
}

func (c *cord) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = false
}

// cut ends the cord.
func (c *cord) cut() {
	c.part()
	_ = c.listener.Close()
	c.work.Wait()
}

// inside is host and plugin in this process. What a kill would leave of one of them is a copy of its files, made while
// nothing can be written to its database and after everybody else was cut off; the next life begins with that.
type inside struct {
	*served
	log     *recorder
	clients *cord // between them and the host
	lives   int

	host    atomic.Pointer[host.Host]
	hostDir string
	endHost func()

	plugin    *plugin.Plugin
	pluginDir string
	link      *cord // between plugin and host
	endPlugin func()

	mu     sync.Mutex // guards tokens
	tokens []string   // that the plugin was given
}

func newInside(t testing.TB) *inside {
	i := &inside{served: newServed(t), log: new(recorder)}
	i.hostDir, i.pluginDir = i.path("h0"), i.path("p0")
	i.clients = newCord(t, i.path("s.sock"), func() string { return i.path("h.sock") })
	t.Cleanup(func() {
		i.end()
		if t.Failed() {
			t.Logf("log:\n%s", lastLines(i.log.String()))
		}
	})
	return i
}

// end ends both in good order.
func (i *inside) end() {
	if i.plugin != nil {
		i.endPlugin()
		i.link.cut()
	}
	if i.host.Load() != nil {
		i.endHost()
	}
	i.clients.cut()
}

func (i *inside) background() context.Context { return context.WithoutCancel(i.t.Context()) }

func (i *inside) logger(who string) *slog.Logger {
	return slog.New(slog.NewTextHandler(i.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("who", who, "life", i.lives)
}

func (i *inside) startHost() {
	i.t.Helper()
	i.lives++
	h, err := host.New(i.background(), host.Config{Dir: i.hostDir, Sockets: []string{i.path("h.sock")}, Version: version, Log: i.logger("host")})
	if err != nil {
		i.t.Fatalf("the host does not open what a kill left: %v", err)
	}
	ctx, cancel := context.WithCancelCause(i.background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }() // endHost waits for it
	i.host.Store(h)
	i.endHost = func() {
		cancel(host.ErrLeavePlugin)
		if err := <-done; err != nil {
			i.t.Errorf("host: %v", err)
		}
		i.host.Store(nil)
	}
}

func (i *inside) startPlugin() {
	i.t.Helper()
	i.lives++
	link := newCord(i.t, i.path("p.sock"), func() string {
		if h := i.host.Load(); h != nil {
			return strings.TrimPrefix(h.Addresses().Plugin, "unix://")
		}
		return ""
	})
	p, err := plugin.Open(i.background(), plugin.Config{
		Dir: i.pluginDir, ZFS: i.path("zfs"), Version: version, Log: i.logger("plugin").Handler(), Level: new(slog.LevelVar),
		Settings: func() (boundary.Settings, error) {
			h := i.host.Load()
			if h == nil {
				return boundary.Settings{}, errors.New("there is no host")
			}
			token := h.NewToken()
			i.mu.Lock()
			i.tokens = append(i.tokens, token)
			i.mu.Unlock()
			return boundary.Settings{URL: "unix://" + link.path, Token: token}, nil
		},
	})
	if err != nil {
		i.t.Fatalf("the plugin does not open what a kill left: %v", err)
	}
	ctx, cancel := context.WithCancel(i.background())
	done := make(chan struct{})
	go func() { // endPlugin waits for it
		defer close(done)
		p.Run(ctx)
	}()
	i.plugin, i.link = p, link
	i.endPlugin = func() {
		cancel()
		<-done
		if err := p.Close(); err != nil {
			i.t.Errorf("plugin: %v", err)
		}
		i.plugin = nil
	}
}

// freeze keeps everybody from writing to a database until thaw.
func (i *inside) freeze(file string) (thaw func()) {
	i.t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(20000)")
	if err != nil {
		i.t.Fatal(err)
	}
	tx, err := db.BeginTx(i.background(), nil)
	if err != nil {
		i.t.Fatalf("%s: %v", file, err)
	}
	return func() {
		_ = tx.Rollback() // nothing was written
		_ = db.Close()
	}
}

// leave makes what a kill would leave of a folder: its files without what belongs to a process that runs, and without logs. Of the
// processes that carry streams nothing is left: they end with the life that is copied, and that this process has noted
// them would keep the next life from their targets for as long as this process runs.
func (i *inside) leave(from, to string) {
	i.t.Helper()
	err := fs.WalkDir(os.DirFS(from), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		switch {
		case d.Name() == "processes", d.Name() == "logs":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case d.Type().IsRegular() && !strings.HasSuffix(name, "-shm") && !strings.HasSuffix(name, "lock"):
			copyFile(i.t, filepath.Join(from, name), filepath.Join(to, name))
		}
		return nil
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// kill kills host, plugin or both, and starts them again on what is left.
func (i *inside) kill(hostToo, pluginToo bool) {
	i.t.Helper()
	life := strconv.Itoa(i.lives)
	i.link.part()
	if hostToo {
		i.clients.part()
	}
	if pluginToo {
		thaw := i.freeze(filepath.Join(i.pluginDir, "zferry.db"))
		next := i.path("p" + life)
		i.leave(i.pluginDir, next)
		thaw()
		i.endPlugin()
		i.drop(i.pluginDir)
		i.pluginDir = next
		sound(i.t, filepath.Join(next, "zferry.db"))
	}
	if hostToo {
		thaw := i.freeze(filepath.Join(i.hostDir, "host.db"))
		next := i.path("h" + life)
		i.leave(i.hostDir, next)
		thaw()
		i.endHost()
		i.drop(i.hostDir)
		i.hostDir = next
		sound(i.t, filepath.Join(next, "host.db"))
	}
	if hostToo {
		i.startHost()
		i.clients.join()
	}
	if pluginToo {
		i.link.cut()
		i.startPlugin()
	} else {
		i.link.join()
	}
}

func (i *inside) drop(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		i.t.Fatal(err)
	}
}

// TestKillInProcess is TestKillProcesses with what kills would leave, which is much faster.
func TestKillInProcess(t *testing.T) {
	t.Parallel()
	chance := seeded(t, 3)
	i := newInside(t)
	plant(t, i.nas)
	streams := transfers{i.dir, i.path("receives")}
	i.wrap("zfs", streams.noting())
	i.startHost()
	i.startPlugin()
	for limit := time.Now().Add(patience); i.client.Call(t.Context(), "replication.query", nil, nil) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the plugin has not registered")
		}
	}
	c := newCustomer(t, i.url(), i.task("nightly", 0, "tank/a", "backup/a"))
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(func() { c.live(ctx) })
	others.Go(func() { grow(ctx, t, i.nas, "tank/a") })

	kills := killsInProcess
	if withRace() {
		kills = killsWithRace
	}
	began, killed, moving := time.Now(), map[string]int{}, 0
	for range kills {
		streams.moment(ctx, chance, 120*time.Millisecond)
		if streams.running() {
			moving++
		}
		plugin := chance.IntN(3) != 0
		host := !plugin || chance.IntN(3) == 0
		i.kill(host, plugin)
		killed[what(host, plugin)]++
	}
	t.Logf("%d kills within %v: %v; %d in the middle of a stream", kills, time.Since(began).Round(time.Millisecond), killed, moving)
	cancel()
	others.Wait()
	i.rate(0)
	i.kill(true, true)
	c.finish()
	c.check(c.settle())
	equal(t, i.nas, "tank/a", i.nas, "backup/a")
	i.end()
	i.alone(10 * time.Second)
	texts := map[string]string{"log": i.log.String()}
	maps.Copy(texts, filesUnder(t, i.hostDir))
	maps.Copy(texts, filesUnder(t, i.pluginDir))
	for where, text := range texts {
		for _, token := range i.tokens {
			if strings.Contains(text, token) {
				t.Errorf("%s has a registration token", where)
			}
		}
	}
	t.Logf("%d registration tokens are nowhere in %d texts", len(i.tokens), len(texts))
	for line := range strings.Lines(i.log.String()) {
		if strings.Contains(line, "damaged") || strings.Contains(line, "malformed") {
			t.Error(line)
		}
	}
}
