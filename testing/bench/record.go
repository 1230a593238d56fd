package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/zferry/zferry/testing/lab"
)

// The stream that the native group carries was made by a real zfs send. Making 2 GiB in an emulated machine takes many
// minutes, so a smaller one is recorded once and sent eight times in a row.
const (
	recordedRandom = 176 << 20 // bytes of files that nothing compresses
	recordedText   = 64 << 20  // bytes of files that do not differ much
	recordedSmall  = 2000      // files of some KiB
)

// recordScript runs on a machine of the lab, with what recordInput gives as its input, and writes the stream.
var recordScript = fmt.Sprintf(`set -e
exec 3>&1 >&2
zfs create -o compression=lz4 -o recordsize=1M tank/bench
cd /tank/bench
head -c %d >random
head -c %d >text
i=0
while [ $i -lt %d ]; do head -c $((1000 + i)) >small$i; i=$((i+1)); done
cd /
zfs snapshot tank/bench@recorded
zfs send -L tank/bench@recorded >&3
zfs destroy -r tank/bench
`, recordedRandom, recordedText, recordedSmall)

// recordInput is the content of the files: made here, because an emulated machine is slow at it.
func recordInput() io.Reader {
	line := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog; ", 100) + "\n")
	text := bytes.Repeat(line, recordedText/len(line)+1)[:recordedText]
	return io.MultiReader(io.LimitReader(rand.Reader, recordedRandom), bytes.NewReader(text), rand.Reader)
}

// recorded returns the file of the stream, which it records when it is not there yet.
func recorded(ctx context.Context, r *Report) (file string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("stream-%x", sha256.Sum256([]byte(recordScript)))[:23]
	file = filepath.Join(cache, "zferry", "bench", name)
	if checkStream(file) == nil {
		return file, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	part, err := os.CreateTemp(filepath.Dir(file), name+".part-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(part.Name()) }()
	err = record(ctx, r, part)
	if closeErr := part.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = checkStream(part.Name())
	}
	if err != nil {
		return "", fmt.Errorf("record a stream: %w", err)
	}
	return file, os.Rename(part.Name(), file)
}

func record(ctx context.Context, r *Report, to io.Writer) error {
	r.Say("recording a stream of zfs send in the lab, once")
	l, err := lab.Start(ctx, lab.Options{Progress: r.Progress})
	if err != nil {
		return err
	}
	defer l.Close()
	var stderr bytes.Buffer
	if err := l.Machine("nas1").RunIn(ctx, recordScript, recordInput(), to, &stderr); err != nil {
		return fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return nil
}

// checkStream tells whether a file holds a stream: its first record says so, and it is as long as its content at least.
func checkStream(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < recordedRandom+recordedText {
		return fmt.Errorf("%s has only %d bytes", file, info.Size())
	}
	var head struct {
		Type, Payload uint32
		Magic         uint64
	}
	if err := binary.Read(f, binary.LittleEndian, &head); err != nil {
		return err
	}
	if head.Type != 0 || head.Magic != 0x2F5bacbac {
		return errors.New(file + " is no stream of zfs send")
	}
	return nil
}
