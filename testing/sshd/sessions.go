package sshd

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// KillSessions kills the sshd processes that serve connections, as a crash would; the commands they run stay behind. It
// returns how many it killed.
func (s *Server) KillSessions() int {
	return killAll(s.sessions())
}

// Sessions counts the connections that sshd serves.
func (s *Server) Sessions() int {
	n := 0
	for _, p := range processes() {
		if p.parent == s.cmd.Process.Pid {
			n++
		}
	}
	return n
}

// sessions returns the pids of sshd's descendants that are sshd themselves. With separation of privileges there are two
// per connection.
func (s *Server) sessions() []int {
	all := processes()
	found := map[int]bool{s.cmd.Process.Pid: true}
	var pids []int
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if found[p.parent] && !found[p.pid] && strings.HasPrefix(p.name, "sshd") {
				found[p.pid] = true
				pids = append(pids, p.pid)
				grew = true
			}
		}
	}
	return pids
}

// killMarked kills what sessions of this server have started and left behind.
func (s *Server) killMarked() {
	var pids []int
	want := []byte(markVariable + "=" + s.mark)
	for _, p := range processes() {
		env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "environ"))
		if err == nil && bytes.Contains(env, want) {
			pids = append(pids, p.pid)
		}
	}
	killAll(pids)
}

func killAll(pids []int) int {
	n := 0
	for _, pid := range pids {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}

type process struct {
	pid, parent int
	name        string
}

// processes lists what runs on this machine, as /proc shows it.
func processes() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var all []process
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name stands in parentheses and may hold spaces and parentheses itself.
		left, right := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		if left < 0 || right < left {
			continue
		}
		fields := strings.Fields(string(b[right+1:]))
		if len(fields) < 2 {
			continue
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:left])))
		parent, _ := strconv.Atoi(fields[1])
		all = append(all, process{pid: pid, parent: parent, name: string(b[left+1 : right])})
	}
	return all
}
