package tasks_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/tasks"
)

// TestLook looks at both systems, as a wizard does (truenas-api.md 3.6).
func TestLook(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	here, there := tasks.Place{Transport: tasks.Local}, tasks.Place{Transport: tasks.SSH, SSHCredentials: &p.connection}
	for _, line := range []string{
		"zpool create boot-pool", "zfs create tank/data", "zfs create tank/data/x", "zfs create tank/.system", "zfs create tank/.system/log",
		"zfs create tank/.systems", "zfs snapshot -r tank/data@one", "zfs snapshot tank/data@two", "zfs bookmark tank/data@two tank/data#mark",
	} {
		do(t, p.here, line)
	}
	names := func(want []string, got []string, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
	}
	got, err := p.Datasets(t.Context(), here)
	names([]string{"tank", "tank/.systems", "tank/data", "tank/data/x", "vault"}, got, err)
	got, err = p.Snapshots(t.Context(), here, []string{"tank/data", "tank/data/x"})
	names([]string{"one", "two", "one"}, got, err)

	for range 2 { // that it exists is no error
		if err := p.CreateDataset(t.Context(), there, "backup/a/b"); err != nil {
			t.Error(err)
		}
	}
	got, err = p.Datasets(t.Context(), there)
	names([]string{"backup", "backup/a", "backup/a/b"}, got, err)
	if err := p.CreateDataset(t.Context(), there, "backup/-a*"); !errors.As(err, new(faults.List)) {
		t.Errorf("a bad name: %v", err)
	}

	// Names are compared, not what the snapshots are.
	do(t, p.there, "zfs create -p backup/copy/data")
	for _, name := range []string{"one", "theirs", "another"} {
		do(t, p.there, "zfs snapshot backup/copy/data@"+name)
	}
	unmatched := func(want map[string][]string, direction string, sources []string, target string) {
		t.Helper()
		got, err := p.Unmatched(t.Context(), direction, sources, target, there)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("unmatched: %v (-want +got):\n%s", err, diff)
		}
	}
	unmatched(map[string][]string{"backup/copy/data": {"theirs", "another"}}, tasks.Push, []string{"tank/data", "tank/data2"}, "backup/copy")
	unmatched(map[string][]string{"backup/copy/data": {"theirs", "another"}}, tasks.Push, []string{"tank/data"}, "backup/copy/data")
	unmatched(map[string][]string{"tank/data": {"two"}}, tasks.Pull, []string{"backup/copy/data"}, "tank/data")
	unmatched(map[string][]string{}, tasks.Push, []string{"tank/data"}, "backup/none")
	unmatched(map[string][]string{}, tasks.Pull, []string{"backup/none"}, "tank/data")

	// What cannot be looked at.
	if _, err := p.Datasets(t.Context(), tasks.Place{Transport: tasks.SSH}); !errors.Is(err, tasks.ErrNoConnection) {
		t.Errorf("without a connection: %v", err)
	}
	if _, err := p.Datasets(t.Context(), tasks.Place{Transport: tasks.Local, SSHCredentials: &p.connection}); !errors.As(err, new(faults.List)) {
		t.Errorf("here, with a connection: %v", err)
	}
	closed := p.connect("closed", 1)
	if _, err := p.Datasets(t.Context(), tasks.Place{Transport: "SSH+NETCAT", SSHCredentials: &closed}); !errors.As(err, new(*tasks.UnreachableError)) || !errors.As(err, new(*ssh.DialError)) {
		t.Errorf("nobody listens: %v", err)
	}
}
