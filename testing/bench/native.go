package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	zssh "github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

const (
	nativePairs  = 5
	nativeBytes  = 2 << 30 // at least, per measurement
	nativeWarmUp = 1       // repetitions of the recorded stream that decide which cipher is OpenSSH's best
)

// native measures package ssh against OpenSSH's client: the same stream to and from the same sshd on this machine, each
// with its login, each pair one right after the other.
func native(ctx context.Context, r *Report) error {
	file, err := recorded(ctx, r)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	server, err := sshd.Run(ctx, sshd.Options{})
	if err != nil {
		return err
	}
	defer server.Close()
	c := &carrier{server: server, file: file, size: info.Size()}
	repeats := int((nativeBytes + info.Size() - 1) / info.Size())

	r.Note("native: %d processors, %s%s", runtime.NumCPU(), runtime.Version(), load())
	best, err := c.best(ctx)
	if err != nil {
		return err
	}
	version, err := exec.CommandContext(ctx, "ssh", "-V").CombinedOutput()
	if err != nil {
		return err
	}
	r.Note("native: a zfs send of %d MiB, %d times in a row; %s at both ends; %d pairs in turn; MiB/s with the login",
		info.Size()>>20, repeats, strings.TrimSpace(string(version)), nativePairs)
	r.Note("native: openssh-best is %s, openssh-default %s, ours %s", best, defaultCipher(ctx), zssh.Ciphers()[0])
	for _, way := range []string{"push", "pull"} {
		if err := c.compare(ctx, r, way, best, repeats); err != nil {
			return fmt.Errorf("%s: %w", way, err)
		}
	}
	return nil
}

// load says how busy the machine is, without which no figure means much.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(b)); err == nil && len(fields) > 0 {
		return ", load " + fields[0]
	}
	return ""
}

// carrier is how streams are carried.
type carrier struct {
	server *sshd.Server
	file   string
	size   int64
}

func (c *carrier) compare(ctx context.Context, r *Report, way, best string, repeats int) error {
	ways := []func() (float64, error){
		func() (float64, error) { return c.ours(ctx, way, repeats) },
		func() (float64, error) { return c.openssh(ctx, way, best, repeats) },
		func() (float64, error) { return c.openssh(ctx, way, "", repeats) },
	}
	rates := make([][]float64, len(ways))
	for pair := range nativePairs {
		for i := range ways { // in another order each time: what comes first may have it easier
			i = (i + pair) % len(ways)
			rate, err := ways[i]()
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], rate)
		}
		r.Say("  %s %d of %d: ours %.0f, openssh-best %.0f, openssh-default %.0f MiB/s", way, pair+1, nativePairs, rates[0][pair], rates[1][pair], rates[2][pair])
	}
	name := "native/ssh " + way
	r.Add(Paired(name, "MiB/s", "openssh-best", rates[0], rates[1]))
	r.Add(Paired(name, "MiB/s", "openssh-default", rates[0], rates[2]))
	return nil
}

// files is the recorded stream as often as it is sent.
func (c *carrier) files(repeats int) []string {
	args := []string{"cat"}
	for range repeats {
		args = append(args, c.file)
	}
	return args
}

// timed returns the rate at which run carries the stream.
func (c *carrier) timed(repeats int, run func() error) (float64, error) {
	begin := time.Now()
	if err := run(); err != nil {
		return 0, err
	}
	return float64(c.size*int64(repeats)) / (1 << 20) / time.Since(begin).Seconds(), nil
}

func (c *carrier) config() zssh.Config {
	return zssh.Config{
		User: c.server.User, Host: "127.0.0.1", Port: c.server.Port,
		KeyFiles: []string{c.server.PrivateKey}, KnownHosts: []string{c.server.KnownHosts},
	}
}

func (c *carrier) ours(ctx context.Context, way string, repeats int) (float64, error) {
	return c.timed(repeats, func() error {
		peer, err := zssh.Dial(ctx, c.config())
		if err != nil {
			return err
		}
		defer peer.Close()
		if way == "pull" {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer null.Close()
			_, err = peer.Stream(ctx, [][]string{c.files(repeats)}, nil, null, nil)
			return err
		}
		return c.fed(ctx, repeats, func(stdin *os.File) error {
			_, err := peer.Stream(ctx, [][]string{{"sh", "-c", "cat >/dev/null"}}, stdin, nil, nil)
			return err
		})
	})
}

func (c *carrier) openssh(ctx context.Context, way, cipher string, repeats int) (float64, error) {
	args := []string{
		"-F", "none", "-i", c.server.PrivateKey, "-p", strconv.Itoa(c.server.Port), "-o", "IdentitiesOnly=yes",
		"-o", "UserKnownHostsFile=" + c.server.KnownHosts, "-o", "BatchMode=yes",
	}
	if cipher != "" {
		args = append(args, "-c", cipher)
	}
	args = append(args, c.server.User+"@127.0.0.1")
	return c.timed(repeats, func() error {
		if way == "pull" {
			return quiet(exec.CommandContext(ctx, "ssh", append(args, zssh.Quote(c.files(repeats)...))...))
		}
		return c.fed(ctx, repeats, func(stdin *os.File) error {
			cmd := exec.CommandContext(ctx, "ssh", append(args, "cat >/dev/null")...)
			cmd.Stdin = stdin
			return quiet(cmd)
		})
	})
}

// quiet runs a command whose standard error matters only if it fails.
func quiet(cmd *exec.Cmd) error {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return nil
}

// fed lets run read the stream from a pipe as large as those between zfs and us.
func (c *carrier) fed(ctx context.Context, repeats int, run func(stdin *os.File) error) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20) // refused, it stays small for both
	argv := c.files(repeats)
	cat := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cat.Stdout = w
	err = cat.Start()
	_ = w.Close()
	if err != nil {
		return err
	}
	err = run(r)
	_ = r.Close() // or a cat whose reader failed would wait for ever
	if catErr := cat.Wait(); err == nil {
		err = catErr
	}
	return err
}

// best finds the cipher with which OpenSSH is fastest here, among those that are fast on some machine.
func (c *carrier) best(ctx context.Context) (string, error) {
	name, top := "", 0.0
	for _, cipher := range []string{"aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "chacha20-poly1305@openssh.com"} {
		rate, err := c.openssh(ctx, "push", cipher, nativeWarmUp)
		if err != nil {
			return "", fmt.Errorf("openssh with %s: %w", cipher, err)
		}
		if rate > top {
			name, top = cipher, rate
		}
	}
	return name, nil
}

// defaultCipher is the first of those that OpenSSH's client offers by itself.
func defaultCipher(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "ssh", "-F", "none", "-G", "localhost").Output()
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(out)) {
		if list, ok := strings.CutPrefix(line, "ciphers "); ok {
			first, _, _ := strings.Cut(strings.TrimSpace(list), ",")
			return first
		}
	}
	return "unknown"
}
