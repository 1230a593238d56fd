package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// TestFull: when there is no room, nothing is half written, what is there can be read, and with room again all goes on.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	limit := func(pages int64) {
		t.Helper()
		if _, err := s.writer.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(60)
	data := json.RawMessage(bytes.Repeat([]byte("x"), 3000))
	var written int64
	for ; written < 1000; written++ {
		if err = s.InsertJob(ctx, Job{ID: written + 1, Rev: uint64(written) + 1, Data: data}); err != nil {
			break
		}
	}
	wantErr(t, "InsertJob", err, ErrFull)
	if written == 0 || written == 1000 {
		t.Fatalf("%d jobs written", written)
	}
	check := func(jobs int64) {
		t.Helper()
		all, id, rev, err := s.LoadJobs(ctx)
		if err != nil || int64(len(all)) != jobs || id != jobs || rev != uint64(jobs) {
			t.Errorf("%d jobs, last id %d, rev %d, %v; want %d", len(all), id, rev, err, jobs)
		}
	}
	check(written)

	// Statement after statement of a transaction: the counters are raised before or after what does not fit.
	big := bytes.Repeat([]byte("x"), 100_000)
	for _, err := range []error{
		s.InsertJob(ctx, Job{ID: 5000, Rev: 5000, Data: big}),
		s.UpdateJob(ctx, Job{ID: 1, Rev: 5000, Data: big}),
		second(s.AddTask(ctx, Task{Name: "a", Data: big})),
		second(s.AddCredential(ctx, Credential{Name: "a", Attributes: big})),
		second(s.AddRun(ctx, Run{Message: string(big)})),
	} {
		wantErr(t, "no room", err, ErrFull)
	}
	check(written)
	if err := s.DeleteJobs(ctx, []int64{written}); err != nil { // this works, and makes room for as much
		t.Error(err)
	}
	if err := s.InsertJob(ctx, Job{ID: written, Rev: uint64(written), Data: data}); err != nil {
		t.Error(err)
	}

	limit(1 << 20)
	if err := s.InsertJob(ctx, Job{ID: written + 1, Rev: uint64(written) + 1, Data: big}); err != nil {
		t.Error(err)
	}
	check(written + 1)
	id, err := s.AddTask(ctx, Task{Name: "a"})
	want(t, "AddTask", id, err, 1) // no id was used up in vain
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir) // which checks it
	check(written + 1)
}

func second(_ int64, err error) error { return err }

// TestFullFileSystem: errors of files tell it too.
func TestFullFileSystem(t *testing.T) {
	err := writeFile("/dev/full", nil)
	if err == nil || errors.Is(err, ErrFull) {
		t.Errorf("a file that exists is made: %v", err)
	}
	if noSpace(t.TempDir()) || noSpace(filepath.Join(t.TempDir(), "none")) {
		t.Error("there is no space for tests")
	}
}
