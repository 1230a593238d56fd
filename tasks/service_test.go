package tasks_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/tasks"
)

// wantFaults compares all faults, in their order.
func wantFaults(t *testing.T, err error, want faults.List) {
	t.Helper()
	got, ok := err.(faults.List) //nolint:errorlint // callers get the List itself
	if err != nil && !ok {
		t.Fatalf("error %v (%T), want faults", err, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// connected keeps a key pair and a connection with it.
func (w *world) connected(name string, c keychain.Connection) (key, connection int64) {
	w.t.Helper()
	private, public, err := ssh.GenerateKeyPair(ssh.Ed25519)
	if err != nil {
		w.t.Fatal(err)
	}
	pair, err := w.keys.Create(w.t.Context(), keychain.Credential{
		Name: name + " key", Type: keychain.TypeKeyPair, KeyPair: keychain.KeyPair{Private: string(private), Public: public},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c.KeyPair = pair.ID
	made, err := w.keys.Create(w.t.Context(), keychain.Credential{Name: name, Type: keychain.TypeConnection, Connection: c})
	if err != nil {
		w.t.Fatal(err)
	}
	return pair.ID, made.ID
}

// nobody is a connection to where nothing listens.
func nobody() keychain.Connection {
	const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBVRNpFmBbmDe3fH8kRfuy4lR8KGWF5pKi7PXgtQvZxJ"
	return keychain.Connection{Host: "127.0.0.1", Port: 1, User: "root", HostKey: hostKey, ConnectTimeout: 10}
}

// remote is a task over a connection that nothing is wrong with.
func remote(name string, connection int64) tasks.Definition {
	d := local(name, "tank/data", "backup/copy")
	d.Transport, d.SSHCredentials = tasks.SSH, &connection
	return d
}

// TestCreateRules holds the rules of 3.3 that need more than the task: 1 and 21, all at once, nothing kept.
func TestCreateRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, nas2 := w.connected("nas2", nobody())
	_, torn := w.connected("torn", nobody())
	if err := w.store.DeleteCredential(t.Context(), torn-1); err != nil {
		t.Fatal(err)
	}
	w.make(remote("nightly", nas2))
	const taken = "Object with this name already exists"
	tests := []struct {
		name   string
		change func(d *tasks.Definition)
		want   faults.List
	}{
		{"rule 1", func(d *tasks.Definition) { d.Name = "nightly" }, faults.List{{Field: "name", Text: taken}}},
		{"rule 21: unknown", func(d *tasks.Definition) { d.SSHCredentials = ptr[int64](99) }, faults.List{{Field: "ssh_credentials", Text: "[ENOENT] Credential does not exist"}}},
		{"rule 21: a key pair", func(d *tasks.Definition) { d.SSHCredentials = &key }, faults.List{{Field: "ssh_credentials", Text: "[EINVAL] Credential is not of type SSH_CREDENTIALS"}}},
		{"rule 21: without its key pair", func(d *tasks.Definition) { d.SSHCredentials = &torn }, faults.List{{
			Field: "ssh_credentials", Text: "[EFAULT] Error while querying SSH key pair for credentials 4: [ENOENT] Credential does not exist",
		}}},
		{"rule 17: the credentials of a local task are not looked up", func(d *tasks.Definition) {
			d.Transport, d.SSHCredentials = tasks.Local, ptr[int64](99)
		}, faults.List{{Field: "ssh_credentials", Text: "Remote credentials have no sense for local replication"}}},
		{"all at once", func(d *tasks.Definition) {
			d.Name, d.Direction, d.NoPull, d.SSHCredentials, d.Auto = "nightly", tasks.Pull, true, ptr[int64](99), true
			d.NetcatActiveSide, d.Sources, d.Target = ptr("LOCAL"), []string{"-a"}, "tank/*"
		}, faults.List{
			{Field: "name", Text: taken},
			{Field: "auto", Text: "Pull replication that runs automatically must have a schedule"},
			{Field: "direction", Text: "You don't have permissions to use PULL replication"},
			{Field: "netcat_active_side", Text: "This field only has sense for SSH+netcat replication"},
			{Field: "ssh_credentials", Text: "[ENOENT] Credential does not exist"},
			{Field: "source_datasets.0", Text: `invalid name "-a": it would be taken for an option.`},
			{Field: "target_dataset", Text: `invalid name "tank/*": character '*'.`},
		}},
	}
	before, _ := w.told.list()
	for _, tt := range tests {
		t.Run("3.3 "+tt.name, func(t *testing.T) {
			d := remote("weekly", nas2)
			tt.change(&d)
			_, err := w.Create(t.Context(), d)
			wantFaults(t, err, tt.want)
			list, err := w.List(t.Context())
			if err != nil || len(list) != 1 || list[0].Definition.Name != "nightly" {
				t.Errorf("kept are %+v, %v", list, err)
			}
			if after, _ := w.told.list(); len(after) != len(before) {
				t.Errorf("it was told of: %+v", after[len(before):])
			}
		})
	}
}

func TestUnknownIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const want = "Replication 7 does not exist"
	if _, err := w.Get(t.Context(), 7); !faults.Is(err) || err.Error() != want {
		t.Errorf("get: %v", err)
	}
	if _, err := w.Delete(t.Context(), 7); !faults.Is(err) || err.Error() != want {
		t.Errorf("delete: %v", err)
	}
	w.fail(w.run(7), jobs.Failed, want)
	if runs := w.runs(0); len(runs) != 0 {
		t.Errorf("history of nothing: %+v", runs)
	}
}

// TestList holds that tasks come by id with their states.
func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one")
	a, b := w.make(local("b", "tank/data", "vault/b")), w.make(local("a", "tank/data", "vault/a"))
	w.succeed(w.run(b.ID))
	list, err := w.List(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != a.ID || list[1].ID != b.ID {
		t.Fatalf("list %+v, %v", list, err)
	}
	if list[0].State.Phase != tasks.Pending || list[1].State.Phase != tasks.Finished {
		t.Errorf("states %+v, %+v", list[0].State, list[1].State)
	}
}

// TestHold holds 3.7 and 5.6: why a task is on hold, since when, and that it does not run; and what it was before comes back.
func TestHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, nas2 := w.connected("nas2", nobody())
	e := w.make(remote("nightly", nas2))
	w.wait(w.run(e.ID)) // nobody listens there
	before := w.get(e.ID).State
	if before.Phase != tasks.Failed || !strings.Contains(before.Error, "connection refused") {
		t.Fatalf("state %+v", before)
	}

	// The connection goes behind the back of the tasks.
	row, err := w.store.Credential(t.Context(), nas2)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(attributes string) {
		t.Helper()
		changed := row
		if attributes != "" {
			changed.Attributes = []byte(attributes)
		}
		if err := w.store.UpdateCredential(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
	}
	hold := func(reason string) tasks.State {
		t.Helper()
		s := w.get(e.ID).State
		if s.Phase != tasks.Hold || s.Reason != reason || s.LastSnapshot != "" || s.Job != 0 || s.Error != "" {
			t.Fatalf("5.6: state %+v, want HOLD, %s", s, reason)
		}
		if s.At.IsZero() || time.Since(s.At) > patience {
			t.Errorf("3.7: on hold since %v", s.At)
		}
		return s
	}
	replace(strings.Replace(string(row.Attributes), "ssh-ed25519 AAAA", "nonsense ", 1))
	unreadable := hold("The host key of SSH connection 'nas2' cannot be read: give lines of type and key, as ssh-keyscan shows them.")
	if again := w.get(e.ID).State; !again.At.Equal(unreadable.At) {
		t.Errorf("3.7: the hold began anew: %v, %v", unreadable.At, again.At)
	}
	job := w.run(e.ID)
	w.fail(job, jobs.Failed, "Task is on hold")
	if log := w.log(job); !strings.Contains(log, "The host key of SSH connection") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if runs := w.runs(e.ID); len(runs) != 1 {
		t.Errorf("a run that did not begin is in the history: %+v", runs)
	}
	replace("")
	if diff := cmp.Diff(before, w.get(e.ID).State); diff != "" {
		t.Errorf("3.7: the hold is over (-before +after):\n%s", diff)
	}
	if err := w.store.DeleteCredential(t.Context(), nas2-1); err != nil {
		t.Fatal(err)
	}
	hold("Error while querying SSH key pair for credentials 2: [ENOENT] Credential does not exist.")
	if err := w.store.DeleteCredential(t.Context(), nas2); err != nil {
		t.Fatal(err)
	}
	hold("Credential does not exist.")
}

// TestHoldOfATaskThatNeverRan holds that a hold always has a time.
func TestHoldOfATaskThatNeverRan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, nas2 := w.connected("nas2", nobody())
	e := w.make(remote("nightly", nas2))
	if err := w.store.DeleteCredential(t.Context(), nas2); err != nil {
		t.Fatal(err)
	}
	if s := w.get(e.ID).State; s.Phase != tasks.Hold || s.At.IsZero() {
		t.Errorf("3.7: state %+v", s)
	}
}

// TestRelease holds what cascade does to tasks (4.4): disabled, without the connection, on hold; and, as decisions 30 wants,
// an event for each.
func TestRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, nas2 := w.connected("nas2", nobody())
	_, nas3 := w.connected("nas3", nobody())
	a, b, c := w.make(remote("a", nas2)), w.make(remote("b", nas3)), w.make(remote("c", nas2))
	names, err := w.UsersOf(t.Context(), nas2)
	if diff := cmp.Diff([]string{"a", "c"}, names); err != nil || diff != "" {
		t.Errorf("4.4: users %v, %v", err, diff)
	}
	if _, err := w.keys.Delete(t.Context(), nas2, false, w.Service); err == nil {
		t.Error("4.4: deleted without cascade")
	}
	before, _ := w.told.list()
	if _, err := w.keys.Delete(t.Context(), nas2, true, w.Service); err != nil {
		t.Fatal(err)
	}
	for _, e := range []tasks.Entry{a, c} {
		got := w.get(e.ID)
		if got.Definition.Enabled || got.Definition.SSHCredentials != nil {
			t.Errorf("4.4: task %+v", got.Definition)
		}
		if s := got.State; s.Phase != tasks.Hold || s.Reason != "You should pass SSH credentials for SSH transport." {
			t.Errorf("4.4: state %+v", s)
		}
		w.fail(w.run(e.ID), jobs.Failed, "Task is on hold")
	}
	if got := w.get(b.ID); !got.Definition.Enabled || *got.Definition.SSHCredentials != nas3 || got.State.Phase != tasks.Pending {
		t.Errorf("4.4: another task was released: %+v", got)
	}
	all, _ := w.told.list()
	var told []int64
	for _, change := range all[len(before):] {
		if change.Msg != "changed" || change.State || change.Entry.Definition.Enabled || change.Entry.State.Phase != tasks.Hold {
			t.Errorf("decisions 30: event %+v", change)
		}
		told = append(told, change.Entry.ID)
	}
	if diff := cmp.Diff([]int64{a.ID, c.ID}, told); diff != "" {
		t.Errorf("decisions 30: events (-want +got):\n%s", diff)
	}
	if names, err := w.UsersOf(t.Context(), nas2); err != nil || len(names) != 0 {
		t.Errorf("4.4: users afterwards %v, %v", names, err)
	}
}

// TestEncryptionKeyIsNowhere holds that a secret that is refused reaches neither the state nor an error.
func TestEncryptionKeyIsNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := local("nightly", "tank/data", "vault/copy")
	d.EncryptionKey = ptr("correct horse battery")
	_, err := w.Create(t.Context(), d)
	job := w.wait(w.once(d))
	for _, text := range []string{err.Error(), job.Failure.Error, w.log(job)} {
		if strings.Contains(text, "correct horse") {
			t.Errorf("the key is shown: %s", text)
		}
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "correct horse") {
			t.Errorf("%s holds the key", file)
		}
	}
}

// hooked is a keychain whose every connection leads to where nobody listens. before is called with each question.
type hooked struct{ before func() }

func (h *hooked) Config(context.Context, int64) (ssh.Config, error) {
	h.before()
	return ssh.Config{User: "root", Host: "127.0.0.1", Port: 1, HostKeys: []string{nobody().HostKey}}, nil
}

// hook gives the world's tasks a hooked keychain.
func (w *world) hook() *hooked {
	w.t.Helper()
	h := &hooked{before: func() {}}
	var err error
	w.Service, err = tasks.New(tasks.Config{Store: w.store, Keychain: h, Dir: w.dir, Notify: w.told.add, Log: newLog(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// TestDeleteBeforeTheRunBegins deletes a task after its job has looked at it and before it runs it: the job must not run what
// nobody could abort any more (decisions 19).
func TestDeleteBeforeTheRunBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.hook()
	e := w.make(remote("nightly", 1))
	keys.before = func() {
		keys.before = func() {}
		if job, err := w.Delete(t.Context(), e.ID); job != 0 || err != nil {
			t.Errorf("delete: job %d, %v", job, err)
		}
	}
	w.fail(w.run(e.ID), jobs.Failed, "Replication 1 does not exist")
	w.wantRuns(e.ID)
	if diff := cmp.Diff([]string{"added PENDING", "removed"}, w.lines(e.ID)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestPanic holds that a mistake in the program fails that run, and does not leave the task running for ever.
func TestPanic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.hook()
	e := w.make(remote("nightly", 1))
	asked := 0
	keys.before = func() {
		if asked++; asked == 2 { // whether it is on hold is asked first
			panic("no keychain")
		}
	}
	job := w.wait(w.run(e.ID))
	if job.State != jobs.Failed || !strings.HasPrefix(job.Failure.Error, "internal error") {
		t.Errorf("job %s, %+v", job.State, job.Failure)
	}
	s := w.get(e.ID).State
	if s.Phase != tasks.Failed || s.Error != "internal error." || s.Job != job.ID {
		t.Errorf("state %+v", s)
	}
	w.wantRuns(e.ID, store.Run{JobID: job.ID, Outcome: "ERROR", Message: "internal error."})
	if j := w.wait(w.run(e.ID)); j.Failure == nil || j.Failure.Error == tasks.ErrRunning.Error() {
		t.Errorf("it cannot run any more: %+v", j.Failure)
	}
}

// TestContextOfAQuestion holds that a caller that went away makes nothing of a task.
func TestContextOfAQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, nas2 := w.connected("nas2", nobody())
	e := w.make(remote("nightly", nas2))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Get(ctx, e.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := w.Create(ctx, remote("weekly", nas2)); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
}
