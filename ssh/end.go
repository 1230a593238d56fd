package ssh

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// endGrace is how long End lets a process end by itself after SIGTERM.
const endGrace = 2 * time.Second

// End ends a process that Stream has told of, with everything in its process group, if it is still the one that started at
// start: SIGTERM, then SIGKILL after 2 s. gone tells that it does not run any more, or is another one; false without an
// error is a process that even SIGKILL has not ended yet. One that may not be signalled is an os.ErrPermission. The process
// may have been started by an earlier run of this program.
func (p *Peer) End(ctx context.Context, pid int, start string) (gone bool, err error) {
	return p.end(ctx, marker{pid, start}, endGrace)
}

func (p *Peer) end(ctx context.Context, m marker, grace time.Duration) (gone bool, err error) {
	if m.pid <= 1 || m.start == "" || strings.ContainsAny(m.start, "\x00\n") {
		return false, fmt.Errorf("process %d, started %q, cannot be told from others", m.pid, m.start)
	}
	a, err := p.shell(ctx, endScript(m, grace))
	if err != nil {
		return false, fmt.Errorf("end process %d on %s: %w", m.pid, p.Addr(), err)
	}
	switch word := strings.TrimSpace(string(a.stdout)); word {
	case "gone":
		return true, nil
	case "alive":
		return false, nil
	case "denied":
		return false, fmt.Errorf("end process %d on %s: it belongs to another user: %w", m.pid, p.Addr(), os.ErrPermission)
	default:
		return false, fmt.Errorf("end process %d on %s: unexpected answer %q %q", m.pid, p.Addr(), word, a.stderr)
	}
}

// endScript looks ten times a second whether the process and its group are gone. A command under sudo may not be
// signalled by the user who started it; where sudo does not allow kill either, its sshd may, and a command without
// one has no input and output any more.
func endScript(m marker, grace time.Duration) string {
	ticks := max(1, int(grace/(100*time.Millisecond)))
	script := environment + look + `echo "` + markerWord + `$$"; ` +
		fmt.Sprintf("p=%d; want=%s; term=%d; ", m.pid, Quote(m.start), ticks) +
		`same() { look $p && [ "$z_start" = "$want" ] && case $z_state in [ZX]*) return 1;; esac; }; ` +
		`look $$; own=$z_group; same || { echo gone; exit 0; }; group=$z_group; ` +
		// Without a session of its own the process shares its group with strangers; 0 would be the group of this script.
		`case $group in 0|1|$own) target=$p;; *) target=-$group;; esac; ` +
		`alive() { case $target in -*) ;; *) same; return;; esac; ` +
		`if [ -r /proc/$$/stat ]; then sed -n 's/^.*) \([A-Z]\) [0-9]* '$group' .*/\1/p' /proc/[0-9]*/stat 2>/dev/null | grep -q '[^ZX]'; ` +
		`else ps -A -o pgid= -o state= | grep -q "^ *$group  *[^ZX]"; fi; }; ` +
		`signal() { kill -s $1 -- $target 2>/dev/null || sudo -n kill -s $1 -- $target 2>/dev/null; }; ` +
		`hangup() { look $group || return; case $(ps -o comm= -p $z_parent) in sshd*|*/sshd*) ` +
		`[ "$z_parent" = "$PPID" ] || kill -s TERM $z_parent 2>/dev/null;; esac; }; ` +
		`verdict=alive; signal TERM || { verdict=denied; hangup; }; i=0; ` +
		`while alive; do i=$((i+1)); if [ $i -eq $term ]; then signal KILL || verdict=denied; fi; ` +
		`[ $i -lt $((term+10)) ] || { echo $verdict; exit 0; }; sleep 0.1 2>/dev/null || sleep 1; done; echo gone`
	return Quote("sh", "-c", script)
}
