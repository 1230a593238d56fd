package transport

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// extraPath are the folders where zfs may live and that the PATH of an ordinary user lacks.
const extraPath = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin"

// Local runs commands on this system. The zero value uses the environment of this process.
type Local struct {
	Env []string // replaces the environment, "key=value"; nil: that of this process
}

// Output runs argv to its end and returns what it wrote.
func (l Local) Output(ctx context.Context, argv []string) (stdout []byte, stderr string, err error) {
	var out bytes.Buffer
	stderr, err = l.Stream(ctx, [][]string{argv}, nil, &out, nil)
	return out.Bytes(), stderr, err
}

// command makes a command in a process group of its own, so that a Ctrl-C at the terminal reaches us and not it: the order
// in which the two ends of a stream stop is ours to keep.
func (l Local) command(argv []string) (*exec.Cmd, error) {
	env := l.Env
	if env == nil {
		env = os.Environ()
	}
	path := extraPath
	kept := make([]string, 0, len(env)+2)
	for _, kv := range env {
		switch {
		case strings.HasPrefix(kv, "PATH="):
			path = strings.TrimPrefix(kv, "PATH=") + ":" + extraPath
		case strings.HasPrefix(kv, "LC_ALL="):
		default:
			kept = append(kept, kv)
		}
	}
	file, err := lookPath(argv[0], path)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(file, argv[1:]...) // the context is watched by Stream
	cmd.Args[0] = argv[0]
	cmd.Env = append(kept, "PATH="+path, "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

// lookPath finds an executable in path. exec.LookPath would look in the PATH of this process only.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			continue
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// Stream runs commands one after the other with the same stdin and stdout; see zfs.Runner for the contract. If stdin has a
// Close method, it is called when a command fails while stdin may still be blocked in Read.
func (l Local) Stream(ctx context.Context, commands [][]string, stdin io.Reader, stdout io.Writer, started func(pid int, start string) error) (stderr string, err error) {
	s := &stream{local: l, stdin: stdin, stdout: stdout, started: started}
	if err := s.open(); err != nil {
		return "", err
	}
	for _, argv := range commands {
		if err = s.run(ctx, argv); err != nil {
			break
		}
	}
	err = s.finish(err)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return s.stderr.String(), err
}
