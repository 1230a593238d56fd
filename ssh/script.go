package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What runs on the host is one line for its sh, handed to the login shell as the quoted argument of sh -c, so that it does
// not matter which shell that is. The line has no ! and no newline, for csh.

// environment makes programs of an administrator findable, behind those of the user, and their texts English.
const environment = `PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin; LC_ALL=C; export PATH LC_ALL; `

// look is a shell function that learns of a process its state, parent, group and the time it started: from /proc, where
// the name in parentheses may hold anything, or from ps.
const look = `look() { ` +
	`if [ -r /proc/$$/stat ]; then { read -r z_stat </proc/$1/stat; } 2>/dev/null || return 1; ` +
	`set -- ${z_stat##*") "}; z_state=$1; z_parent=$2; z_group=$3; z_start=${20}; ` +
	`else z_pid=$1; set -- $(TZ=UTC0 ps -o lstart= -p $z_pid 2>/dev/null); [ $# -ge 1 ] || return 1; z_start="$*"; ` +
	`set -- $(ps -o state= -o ppid= -o pgid= -p $z_pid 2>/dev/null); [ $# -ge 3 ] || return 1; ` +
	`z_state=$1; z_parent=$2; z_group=$3; fi; }; `

// The marker is the first line that the script writes: after it comes what the command writes, before it what the login
// shell had to say.
const (
	markerWord = "zferry-pid "
	maxMarker  = 256 // bytes in the line
)

// commandScript is the shell line that runs commands one after the other, after a marker with its pid and start time. The
// last command takes the place of the shell.
func commandScript(commands [][]string) (string, error) {
	if len(commands) == 0 {
		return "", errors.New("no command")
	}
	script := environment + look + `look $$; echo "` + markerWord + `$$ $z_start"; `
	for i, argv := range commands {
		command, err := checkedQuote(argv)
		if err != nil {
			return "", err
		}
		if i == len(commands)-1 {
			command = "exec " + command
		} else {
			command += " && "
		}
		script += command
	}
	return Quote("sh", "-c", script), nil
}

func checkedQuote(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("empty command")
	}
	if strings.HasPrefix(argv[0], "-") {
		return "", fmt.Errorf("command %q starts with a dash", argv[0])
	}
	for _, a := range argv {
		if strings.ContainsRune(a, 0) {
			return "", fmt.Errorf("argument %q of %s holds a NUL", a, argv[0])
		}
	}
	return Quote(argv...), nil
}

// marker is what the script tells of itself.
type marker struct {
	pid   int
	start string
}

// findMarker looks for the marker's line in what has come so far. after is where the command's own output begins; it is
// -1 as long as the line has not come whole.
func findMarker(b []byte) (m marker, after int) {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(markerWord))
		if i < 0 {
			return marker{}, -1
		}
		from += i + len(markerWord)
		line := b[from:]
		end := bytes.IndexByte(line[:min(len(line), maxMarker)], '\n')
		if end < 0 {
			if len(line) < maxMarker {
				return marker{}, -1
			}
			continue
		}
		// The login shell may have printed the command itself: that is not followed by a number.
		number, start, _ := strings.Cut(strings.TrimSpace(string(line[:end])), " ")
		if pid, err := strconv.Atoi(number); err == nil && pid > 0 {
			return marker{pid: pid, start: strings.TrimSpace(start)}, from + end + 1
		}
	}
}
