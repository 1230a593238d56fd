package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zferry/zferry/testing/fakezfs"
)

// How often something is killed, without a word. The kills in process are cheap; those of processes are what it is about.
const (
	killsOfProcesses = 40
	killsInProcess   = 160
	killsWithRace    = 50 // in process, where the race detector makes each of them three times as long
)

// withRace tells whether this test binary looks for races.
func withRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// The tree of the tests with kills, and how fast it goes over.
const (
	chaosWrite     = 60_000
	chaosRate      = 200_000 // bytes per second of each stream
	chaosSnapshots = 60
)

// databases are the files of both programs, in the data folder.
func databases(dir string) []string {
	return []string{filepath.Join(dir, "host.db"), filepath.Join(dir, "plugin", "zferry.db")}
}

// sound copies a database that nobody writes to, as a kill has left it, and checks the copy: the original stays as it is.
func sound(t testing.TB, file string) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		return // it was not made yet
	}
	folder := t.TempDir()
	name := filepath.Join(folder, "copy.db")
	for _, end := range []string{"", "-wal"} {
		copyFile(t, file+end, name+end)
	}
	db, err := sql.Open("sqlite", "file:"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var report string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&report); err != nil || report != "ok" {
		t.Fatalf("%s: %s, %v", file, report, err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
}

// copyFile copies a file, if there is one.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// grow adds snapshots to a tree, some at a time, until ctx ends.
func grow(ctx context.Context, t testing.TB, nas *fakezfs.System, tree string) {
	for i := range chaosSnapshots {
		err := nas.Write(tree, chaosWrite)
		if err == nil {
			_, err = nas.Do(fmt.Sprintf("zfs snapshot -r %s@s%d", tree, i))
		}
		if err != nil {
			t.Error(err)
			return
		}
		if wait(ctx, 400*time.Millisecond); ctx.Err() != nil {
			return
		}
	}
}

// transfers tells of the streams of a system whose zfs was made by wrap with noting.
type transfers struct {
	dir  string
	file string
}

// noting is what the shell runs first before zfs, so that a look at a file tells whether a stream has begun.
func (s transfers) noting() string { return `[ "$1" != receive ] || echo >> ` + s.file }

func (s transfers) begun() int64 {
	info, err := os.Stat(s.file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// running tells whether there is a stream right now.
func (s transfers) running() bool {
	for _, text := range processesOf(s.dir) {
		if strings.HasPrefix(text, "zfs receive") {
			return true
		}
	}
	return false
}

// moment waits for the next kill: half of them come at any time, half after a stream has begun.
func (s transfers) moment(ctx context.Context, chance *rand.Rand, most time.Duration) {
	if chance.IntN(2) == 0 {
		wait(ctx, time.Duration(chance.Int64N(int64(most))))
		return
	}
	before := s.begun()
	for limit := time.Now().Add(4 * most); s.begun() == before && time.Now().Before(limit); {
		wait(ctx, 2*time.Millisecond)
	}
	wait(ctx, time.Duration(chance.IntN(150))*time.Millisecond)
}

// plant makes the tree that is replicated.
func plant(t testing.TB, nas *fakezfs.System) {
	t.Helper()
	for _, line := range []string{"zfs create tank/a", "zfs create tank/a/b", "zfs fake-write tank/a/b 100000", "zfs snapshot -r tank/a@first"} {
		if _, err := nas.Do(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := nas.SetSwitches(fakezfs.Switches{Rate: chaosRate}); err != nil {
		t.Fatal(err)
	}
}

// TestKillProcesses kills host, plugin, or both at once, at any moment, also while they start, and starts the host again at
// once. No job is lost or done twice, no id is given twice, and each database is sound after each kill.
func TestKillProcesses(t *testing.T) {
	t.Parallel()
	chance := seeded(t, 1)
	s := newServed(t)
	plant(t, s.nas)
	streams := transfers{s.dir, s.path("receives")}
	s.wrap("zfs", streams.noting())
	s.start()
	task := s.task("nightly", 0, "tank/a", "backup/a")
	c := newCustomer(t, s.url(), task)
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(func() { c.live(ctx) })
	others.Go(func() { grow(ctx, t, s.nas, "tank/a") })

	began, killed, moving := time.Now(), map[string]int{}, 0
	for kills := 0; kills < killsOfProcesses; {
		streams.moment(ctx, chance, 500*time.Millisecond)
		plugin, host := chance.IntN(3) != 0, false
		if !plugin || chance.IntN(2) == 0 {
			host = true
		}
		stream := streams.running()
		if plugin {
			plugin = s.killPlugin()
		}
		if host {
			s.signal(syscall.SIGKILL)
		}
		if !plugin && !host {
			continue // it had not been launched again
		}
		if stream {
			moving++
		}
		kills++
		killed[what(host, plugin)]++
		for i, file := range databases(s.path("data")) {
			if i == 0 && host || i == 1 && plugin && host {
				sound(t, file)
			}
		}
		if host {
			s.launch()
		}
	}
	t.Logf("%d kills within %v: %v; %d in the middle of a stream; %d times a plugin could not be reached", killsOfProcesses,
		time.Since(began).Round(time.Millisecond), killed, moving, strings.Count(s.log("serve.log"), "UNREACHABLE"))
	cancel()
	others.Wait()
	s.rate(0)
	s.killPlugin() // or what it sends now would go on at the old rate
	s.signal(syscall.SIGKILL)
	s.start()
	c.finish()
	c.check(c.settle())
	equal(t, s.nas, "tank/a", s.nas, "backup/a")
	s.signal(syscall.SIGTERM)
	s.alone(10 * time.Second)
	for _, file := range databases(s.path("data")) {
		sound(t, file)
	}
	for _, name := range []string{"serve.log", "data/plugin/plugin.log"} {
		for line := range strings.Lines(s.log(name)) {
			if strings.Contains(line, "damaged") || strings.Contains(line, "malformed") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func what(host, plugin bool) string {
	switch {
	case host && plugin:
		return "both"
	case host:
		return "host"
	}
	return "plugin"
}
