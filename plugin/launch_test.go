package plugin

import (
	"bufio"
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/plugin/boundary"
)

// TestHostGone has the host die between the handshake and the first Configure, before it could make a note of the plugin: the plugin
// ends, because no host would find it and it holds the folder.
func TestHostGone(t *testing.T) {
	dir := t.TempDir()
	if err := boundary.MakeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	cmd := asProcess(t, "serve", dir)
	cmd.Env = []string{"ZFERRY_PLUGIN=2f0c6a7e", "PLUGIN_UNIX_SOCKET_DIR=" + dir}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.HasPrefix(line, "1|1|unix|") {
		t.Errorf("handshake %q, %v", line, err)
	}
	if err := stdout.Close(); err != nil {
		t.Error(err)
	}
	began := time.Now()
	exit, ok := errors.AsType[*exec.ExitError](cmd.Wait())
	if !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), errHostGone.Error()) {
		t.Errorf("exit %v; stderr: %s", exit, stderr.String())
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := boundary.LockHolder(dir); err != nil {
		t.Error(err)
	}
}
