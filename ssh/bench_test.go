package ssh_test

import (
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/zferry/zferry/testing/sshd"
)

// Both ways of a stream to a real sshd, fed and emptied through pipes as by zfs.
const benchSize = 512 << 20

func BenchmarkPush(b *testing.B) {
	s := sshd.Start(b, sshd.Options{})
	p := dial(b, config(s))
	file := randomFile(b)
	b.SetBytes(benchSize)
	for b.Loop() {
		source := exec.CommandContext(b.Context(), "cat", file)
		stdin, err := source.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := source.Start(); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Stream(b.Context(), [][]string{{"sh", "-c", "cat >/dev/null"}}, stdin, nil, nil); err != nil {
			b.Fatal(err)
		}
		if err := source.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPull(b *testing.B) {
	s := sshd.Start(b, sshd.Options{})
	p := dial(b, config(s))
	file := randomFile(b)
	b.SetBytes(benchSize)
	for b.Loop() {
		if _, err := p.Stream(b.Context(), [][]string{{"cat", file}}, nil, io.Discard, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenSSH is the same push with OpenSSH's client and its best and its default cipher.
func BenchmarkOpenSSH(b *testing.B) {
	s := sshd.Start(b, sshd.Options{})
	file := randomFile(b)
	for name, cipher := range map[string]string{"aes128-gcm": "aes128-gcm@openssh.com", "default": "chacha20-poly1305@openssh.com"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), "ssh", "-F", "none", "-c", cipher, "-i", s.PrivateKey, "-p", strconv.Itoa(s.Port),
					"-o", "UserKnownHostsFile="+s.KnownHosts, "-o", "BatchMode=yes", s.User+"@127.0.0.1", "cat >/dev/null")
				f, err := os.Open(file)
				if err != nil {
					b.Fatal(err)
				}
				cmd.Stdin = f
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
				_ = f.Close()
			}
		})
	}
}

func randomFile(b *testing.B) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "random")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, benchSize); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return name
}
