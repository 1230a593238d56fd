package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// descriptors counts the open files of a process.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// steady waits until a process has no more open files than before.
func steady(t testing.TB, what string, pid, before int) {
	t.Helper()
	now := 0
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		if now = descriptors(t, pid); now <= before {
			return
		}
	}
	t.Errorf("the %s has %d open files, had %d", what, now, before)
}

// TestStrangers has strangers at every socket of both processes, and the plugin die and come back: the host serves on, and no
// file stays open.
func TestStrangers(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	s.start()
	s.call(nil, "replication.query")
	var me map[string]any
	s.call(&me, "auth.me")
	lifecycle, err := filepath.Glob(s.path("data", "plugin", "sock", "plugin*"))
	if err != nil || len(lifecycle) != 1 {
		t.Fatalf("sockets of the plugin: %q, %v", lifecycle, err)
	}
	host, plugin := s.cmd.Process.Pid, s.plugin()
	openHost, openPlugin := descriptors(t, host), descriptors(t, plugin)

	upgrade := "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	texts := []string{
		"", "SSH-2.0-x\r\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("x", 1<<20), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		fmt.Sprintf(upgrade, "/api/current"), fmt.Sprintf(upgrade, "/plugin/v1"),
		fmt.Sprintf(upgrade, "/api/current") + "garbage that is no frame", fmt.Sprintf(upgrade, "/plugin/v1") + "\x81\x82\x00\x00\x00\x00{}",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00", 100),
	}
	sockets := []string{s.path("s.sock"), s.path("data", "plugin.sock"), lifecycle[0]}
	count := 0
	for range 5 {
		for _, text := range texts {
			for _, socket := range sockets {
				count++
				conn, err := net.Dial("unix", socket)
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
				_, _ = conn.Write([]byte(text)) // it may be closed in the middle of that
				if count%2 == 0 {
					_, _ = conn.Read(make([]byte, 100))
				}
				_ = conn.Close()
			}
		}
	}
	s.call(nil, "replication.query")
	steady(t, "host", host, openHost)
	steady(t, "plugin", plugin, openPlugin)
	if now := s.plugin(); now != plugin {
		t.Errorf("the plugin was pid %d, is pid %d", plugin, now)
	}

	for range 2 { // each time it takes twice as long until it is launched again
		if !s.killPlugin() {
			t.Fatal("there is no plugin")
		}
		s.runSoon(4711)
	}
	steady(t, "host", host, openHost)
	if now := descriptors(t, s.plugin()); now > openPlugin+1 { // the log of a job, for a moment
		t.Errorf("the plugin has %d open files, the first had %d", now, openPlugin)
	}
	t.Logf("%d strangers; the host has %d open files, the plugin %d", count, openHost, openPlugin)
	s.signal(syscall.SIGTERM)
	s.alone(10 * time.Second)
	if log := []byte(s.log("serve.log")); bytes.Contains(log, []byte("panic")) {
		t.Errorf("the host's log:\n%s", lastLines(string(log)))
	}
}
