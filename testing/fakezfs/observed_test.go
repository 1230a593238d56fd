package fakezfs

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is one command of a transcript and what it is to answer.
type step struct {
	line           string
	code           int
	stdout, stderr []string
}

// Commands answer as the real ones did (observed.txt) or as they should by all that is known (model.txt).
func TestObserved(t *testing.T) {
	data, err := readAll("testdata/observed.txt", "testdata/model.txt")
	if err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir()
	for name, text := range map[string]string{"good": strings.Repeat("0f", 32), "short": "abc\n"} {
		if err := os.WriteFile(filepath.Join(keys, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, section := range strings.Split(data, "\n-- ")[1:] {
		name, body, _ := strings.Cut(section, " --\n")
		body = strings.ReplaceAll(body, "KEYS", keys)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tree(t)
			for _, st := range parseSteps(t, body) {
				st.check(t, s)
			}
		})
	}
}

func parseSteps(t *testing.T, body string) []step {
	var steps []step
	for line := range strings.SplitSeq(body, "\n") {
		if line == "" {
			continue
		}
		mark, rest, _ := strings.Cut(line, " ")
		if mark == "$" {
			steps = append(steps, step{line: rest})
			continue
		}
		last := &steps[len(steps)-1]
		switch mark {
		case "?":
			last.code, _ = strconv.Atoi(rest)
		case "1":
			last.stdout = append(last.stdout, rest)
		case "2":
			last.stderr = append(last.stderr, rest)
		default:
			t.Fatalf("bad line %q", line)
		}
	}
	return steps
}

func (st step) check(t *testing.T, s *System) {
	t.Helper()
	code, stdout, stderr := shell(t, s, st.line)
	if code != st.code {
		t.Errorf("$ %s\nexit code %d, want %d\n%s", st.line, code, st.code, stderr)
	}
	match(t, st.line, "standard output", stdout, st.stdout)
	match(t, st.line, "standard error", stderr, st.stderr)
}

// match compares lines, … standing for anything.
func match(t *testing.T, line, what, got string, want []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if got == "" {
		lines = nil
	}
	for i := range min(len(lines), len(want)) {
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(want[i]), "…", ".*") + "$"
		if regexp.MustCompile(pattern).MatchString(lines[i]) {
			lines[i] = want[i]
		}
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("$ %s\n%s (-want +got):\n%s", line, what, diff)
	}
}

var tokenOf = regexp.MustCompile(`\$\(TOKEN (\S+)\)`)

// shell runs a pipe whose commands are zfs, head -c, cat, echo and true; it runs them one after the other, so a send ends
// at the end of what head takes.
func shell(t *testing.T, s *System, line string) (code int, stdout, stderr string) {
	t.Helper()
	line = tokenOf.ReplaceAllStringFunc(line, func(m string) string {
		return do(t, s, "zfs get -Hpo value receive_resume_token "+tokenOf.FindStringSubmatch(m)[1])
	})
	var errs buffer
	var data []byte
	for command := range strings.SplitSeq(line, " | ") {
		argv := words(command)
		var out bytes.Buffer
		code = 0
		switch argv[0] {
		case "head":
			n, _ := strconv.Atoi(argv[2])
			out.Write(data[:min(n, len(data))])
		case "cat", "true":
		case "echo":
			out.WriteString(argv[1] + "\n")
		default:
			code = as(s, argv, bytes.NewReader(data), &out, &errs)
		}
		data = out.Bytes()
	}
	return code, string(data), errs.String()
}

// as runs a command, "su rights…" before it, as a user who lacks some rights.
func as(s *System, argv []string, in io.Reader, out, errs io.Writer) int {
	var sw Switches
	if argv[0] == "su" {
		sw.Deny, argv = strings.Split(argv[1], ","), argv[2:]
	}
	c := &call{System: s, ctx: context.Background(), in: in, out: out, err: errs, sw: sw}
	return c.run(argv)
}

func words(line string) []string {
	if before, quoted, ok := strings.Cut(line, "'"); ok {
		return append(strings.Fields(before), strings.TrimSuffix(quoted, "'"))
	}
	return strings.Fields(line)
}

func readAll(files ...string) (string, error) {
	all := ""
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		_, sections, _ := strings.Cut(string(data), "\n-- ") // what stands before is for people
		all += "\n-- " + sections
	}
	return all, nil
}
