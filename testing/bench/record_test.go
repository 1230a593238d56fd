package bench

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyStreamsAreTakenForOne(t *testing.T) {
	begin := binary.LittleEndian.AppendUint64([]byte{0, 0, 0, 0, 0, 0, 0, 0}, 0x2F5bacbac)
	tests := []struct {
		name string
		head []byte
		size int64
		good bool
	}{
		{"whole", begin, recordedRandom + recordedText, true},
		{"short", begin, 1 << 20, false},
		{"something else", []byte("cannot open 'tank/bench': dataset does not exist"), recordedRandom + recordedText, false},
	}
	for _, tt := range tests {
		file := filepath.Join(t.TempDir(), "stream")
		if err := os.WriteFile(file, tt.head, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, tt.size); err != nil { // the rest takes no room
			t.Fatal(err)
		}
		if err := checkStream(file); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if checkStream("/nonexistent/stream") == nil {
		t.Error("no error for a missing file")
	}
}

func TestRecordInputFeedsEveryFile(t *testing.T) {
	n, err := io.CopyN(io.Discard, recordInput(), recordedRandom+recordedText+recordedSmall*(1000+recordedSmall))
	if err != nil {
		t.Errorf("ends after %d bytes: %v", n, err)
	}
}
