package ssh_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/zferry/zferry/testing/sshd"
)

func TestStreamThereAndBack(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	data := make([]byte, 7<<20)
	_, _ = rand.Read(data)
	var back bytes.Buffer
	stderr, err := p.Stream(t.Context(), [][]string{{"head", "-c", "10"}, {"cat"}}, bytes.NewReader(data), &back, func(pid int, start string) error {
		t.Log(pid, start)
		return nil
	})
	if err != nil || stderr != "" {
		t.Fatalf("stream: %v, %q", err, stderr)
	}
	if !bytes.Equal(back.Bytes(), data) {
		t.Errorf("%d bytes came back of %d", back.Len(), len(data))
	}
}
