package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// writeForEver is a program that writes rows in its working folder and says which are on the disk, until it is killed.
func writeForEver() {
	ctx := context.Background()
	s, err := Open(ctx, ".")
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	_, id, rev, err := s.LoadJobs(ctx)
	for err == nil {
		id, rev = id+1, rev+1
		if err = s.InsertJob(ctx, Job{ID: id, Rev: rev, State: "RUNNING", Data: make([]byte, 300)}); err != nil {
			break
		}
		fmt.Println("job", id, rev)
		var task int64
		if task, err = s.AddTask(ctx, Task{Name: fmt.Sprint(id), Secret: fmt.Appendf(nil, "secret %d", id)}); err != nil {
			break
		}
		fmt.Println("task", task, id)
		rev++
		if err = s.UpdateJob(ctx, Job{ID: id, Rev: rev, State: "SUCCESS", Data: make([]byte, 3000)}); err != nil {
			break
		}
		fmt.Println("job", id, rev)
		err = s.DeleteJobs(ctx, []int64{id - 5})
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// TestKilled: a program that is killed at any moment leaves a database that opens, with all that it said was written, and
// ids go on from there.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	var lastID, lastTask int64
	var lastRev uint64
	for round := range killRounds {
		said := runAndKill(t, dir, time.Duration(20+rand.IntN(80))*time.Millisecond)
		for _, line := range said {
			var id int64
			var rev uint64
			switch kind, rest, _ := strings.Cut(line, " "); kind {
			case "job":
				_, err := fmt.Sscan(rest, &id, &rev)
				if err != nil || id < lastID || rev <= lastRev {
					t.Fatalf("round %d: job %d, rev %d after %d, %d; %v", round, id, rev, lastID, lastRev, err)
				}
				lastID, lastRev = id, rev
			case "task":
				if _, err := fmt.Sscan(rest, &id); err != nil || id <= lastTask {
					t.Fatalf("round %d: task %d after %d, %v", round, id, lastTask, err)
				}
				lastTask = id
			default:
				t.Fatalf("round %d: the program says %q", round, line)
			}
		}
		lastID, lastRev = checkKilled(t, dir, lastID, lastTask, lastRev)
	}
	t.Logf("%d jobs, %d tasks", lastID, lastTask)
	if lastTask < killRounds {
		t.Errorf("only %d tasks were written: was the program killed too early?", lastTask)
	}
}

// runAndKill kills the program some time after its first line, and returns its lines.
func runAndKill(t *testing.T, dir string, after time.Duration) (said []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STORE_TEST_WRITE=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if said = append(said, lines.Text()); len(said) == 1 {
			defer time.AfterFunc(after, func() { _ = cmd.Process.Kill() }).Stop()
		}
	}
	_ = cmd.Wait() // it was killed, and a line that is half written is none
	if n := len(said); n > 0 && strings.HasPrefix(said[n-1], "error") {
		t.Fatal(said[n-1])
	}
	return said
}

func checkKilled(t *testing.T, dir string, lastID, lastTask int64, lastRev uint64) (id int64, rev uint64) {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	_, id, rev, err = s.LoadJobs(t.Context())
	if err != nil || id < lastID || rev < lastRev {
		t.Fatalf("last id %d, rev %d after %d, %d; %v", id, rev, lastID, lastRev, err)
	}
	if lastTask > 0 {
		task, err := s.Task(t.Context(), lastTask)
		if err != nil || string(task.Secret) != "secret "+task.Name {
			t.Fatalf("task %d: %q, %v", lastTask, task.Secret, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return id, rev
}
