package methods_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/methods"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/tasks"
	"github.com/zferry/zferry/testing/fakezfs"
	"github.com/zferry/zferry/testing/sshd"
)

// zfsProgram is the zfs command.
var zfsProgram string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "zferry-methods-")
	if err == nil {
		zfsProgram = filepath.Join(dir, "zfs")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", zfsProgram, "../testing/fakezfs/cmd/zfs").CombinedOutput(); err != nil {
			err = fmt.Errorf("build zfs: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// The clock of the regular expressions of queries ends by itself a second after the last match.
	clock := goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock")
	goleak.VerifyTestMain(m, clock, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// patience is how long a test waits for what should come soon.
const patience = time.Minute

// api is the methods of one system, put together as package plugin does it.
type api struct {
	t        *testing.T
	dir      string
	here     *fakezfs.System // with the pools tank and vault
	store    *store.Store
	jobs     *jobs.Manager
	tasks    *tasks.Service
	runs     *methods.Replications
	registry *rpc.Registry
	events   *events
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{t: t, dir: t.TempDir(), registry: new(rpc.Registry), events: &events{}}
	var err error
	system := filepath.Join(t.TempDir(), "system")
	if a.here, err = fakezfs.Open(system); err != nil {
		t.Fatal(err)
	}
	a.do("zpool create tank")
	a.do("zpool create vault")
	script := filepath.Join(t.TempDir(), "wrapped-zfs")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nFAKEZFS='%s' exec '%s' \"$@\"\n", system, zfsProgram), 0o700); err != nil {
		t.Fatal(err)
	}
	if a.store, err = store.Open(t.Context(), a.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.store.Close(); err != nil {
			t.Error(err)
		}
	})
	a.jobs, _, err = jobs.Open(t.Context(), jobs.Config{Store: forgetful{}, LogDir: filepath.Join(a.dir, "logs"), Explain: methods.Explain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.jobs.Close)
	keys := keychain.New(a.store)
	a.tasks, err = tasks.New(tasks.Config{
		Store: a.store, Keychain: keys, Dir: a.dir, ZFS: script, Log: newLog(t),
		Notify: func(c tasks.Change) { a.runs.Changed(context.WithoutCancel(t.Context()), c) },
	})
	if err != nil {
		t.Fatal(err)
	}
	methods.Keychain(a.registry, keys, a.tasks, a.events.add)
	a.runs = methods.Replication(a.registry, a.tasks, keys, a.jobs, a.events.add)
	return a
}

// series lets jobs have ids.
func (a *api) series() {
	a.t.Helper()
	if err := a.jobs.SetSeries(0, 1); err != nil {
		a.t.Fatal(err)
	}
}

func (a *api) do(line string) {
	a.t.Helper()
	if _, err := a.here.Do(line); err != nil {
		a.t.Fatalf("%s: %v", line, err)
	}
}

// The callers of these tests, with the roles that others contain.
func admin() rpc.Caller { return rpc.Caller{User: "root", FullAdmin: true} }

func holder(roles ...string) rpc.Caller { return rpc.Caller{User: "ann", Roles: roles} }

const (
	keysRead, keysWrite                = "KEYCHAIN_CREDENTIAL_READ", "KEYCHAIN_CREDENTIAL_WRITE"
	tasksRead, tasksWrite, tasksPulled = "REPLICATION_TASK_READ", "REPLICATION_TASK_WRITE", "REPLICATION_TASK_WRITE_PULL"
)

func keysReader() rpc.Caller { return holder(keysRead) }
func keysWriter() rpc.Caller { return holder(keysRead, keysWrite) }

// call calls a method and gives its result as it goes over the wire.
func (a *api) call(who rpc.Caller, method, params string) (string, error) {
	a.t.Helper()
	m, ok := a.registry.Lookup(method)
	if !ok {
		a.t.Fatalf("there is no method %s", method)
	}
	ctx, cancel := context.WithTimeout(rpc.WithCaller(a.t.Context(), who), patience)
	defer cancel()
	result, err := m.Call(ctx, json.RawMessage(params))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(result)
	if err != nil {
		a.t.Fatalf("%s: result: %v", method, err)
	}
	return string(text), nil
}

// must calls a method that is to succeed.
func (a *api) must(who rpc.Caller, method, params string) string {
	a.t.Helper()
	result, err := a.call(who, method, params)
	if err != nil {
		a.t.Fatalf("%s(%s): %v", method, params, err)
	}
	return result
}

// want compares a result with JSON, number by number and key by key.
func (a *api) want(who rpc.Caller, method, params, want string) {
	a.t.Helper()
	wantJSON(a.t, method, want, a.must(who, method, params))
}

func wantJSON(t *testing.T, what, want, got string) {
	t.Helper()
	if diff := cmp.Diff(decoded(t, want), decoded(t, got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// at gives the member of a JSON object that a path names, as JSON.
func at(t *testing.T, text, path string) string {
	t.Helper()
	for name := range strings.SplitSeq(path, ".") {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &members); err != nil || members[name] == nil {
			t.Fatalf("%s: no %s: %v", text, name, err)
		}
		text = string(members[name])
	}
	return text
}

// keysOf lists the keys of a JSON object in their order; one that stands there twice is listed twice.
func keysOf(t *testing.T, text string) (keys []string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// fault is a triple of 1.3.
type fault struct {
	Attribute string // "null" for null
	Message   string
	Errno     int
}

func invalid(attribute, message string) fault { return fault{attribute, message, 22} }

// refuses wants a call to be refused with these triples, in their order (-32602, 1.3).
func (a *api) refuses(who rpc.Caller, method, params string, want ...fault) {
	a.t.Helper()
	result, err := a.call(who, method, params)
	if err == nil {
		a.t.Fatalf("%s(%s) gave %s", method, params, result)
	}
	e := rpc.ToWire(err)
	var data struct {
		Error           int
		Errname, Reason string
		Extra           [][3]any
	}
	if e.Code != rpc.CodeInvalidParams || json.Unmarshal(e.Data, &data) != nil {
		a.t.Fatalf("1.3: %s(%s): %d %s %s", method, params, e.Code, e.Message, e.Data)
	}
	var got []fault
	reason := ""
	for _, triple := range data.Extra {
		attribute, text := triple[0], "None"
		if attribute == nil {
			attribute = "null"
		} else {
			text = attribute.(string)
		}
		f := fault{attribute.(string), triple[1].(string), int(triple[2].(float64))}
		got = append(got, f)
		reason += fmt.Sprintf("[%s] %s: %s\n", rpc.Errno(f.Errno).Name(), text, f.Message)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		a.t.Errorf("%s(%s): faults (-want +got):\n%s", method, params, diff)
	}
	if e.Message != "Invalid params" || data.Error != 22 || data.Errname != "EINVAL" || strings.TrimSuffix(data.Reason, "\n") != strings.TrimSuffix(reason, "\n") {
		a.t.Errorf("1.3: %s(%s): %s", method, params, e.Data)
	}
}

// fails wants a call to fail with that errno and reason (-32001, 1.3).
func (a *api) fails(who rpc.Caller, method, params string, errno rpc.Errno, reason string) {
	a.t.Helper()
	result, err := a.call(who, method, params)
	if err == nil {
		a.t.Fatalf("%s(%s) gave %s", method, params, result)
	}
	e := rpc.ToWire(err)
	var data struct {
		Error  rpc.Errno
		Reason string
		Extra  any
	}
	if json.Unmarshal(e.Data, &data) != nil || e.Code != rpc.CodeCall || data.Error != errno || data.Reason != reason || data.Extra != nil {
		a.t.Errorf("1.3: %s(%s): %d %s, want %d %s", method, params, e.Code, e.Data, errno, reason)
	}
}

// events is what was told, in order.
type events struct {
	mu    sync.Mutex // guards what follows
	all   []methods.Event
	added chan struct{} // closed and made anew with each
}

func (e *events) add(event methods.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
	if e.added != nil {
		close(e.added)
		e.added = nil
	}
}

// wait waits until something is there to be taken.
func (e *events) wait(ctx context.Context) {
	e.mu.Lock()
	if len(e.all) > 0 {
		e.mu.Unlock()
		return
	}
	if e.added == nil {
		e.added = make(chan struct{})
	}
	added := e.added
	e.mu.Unlock()
	select {
	case <-added:
	case <-ctx.Done():
	}
}

// take gives what was told since the last call.
func (e *events) take() []methods.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// wantEvents compares what was told as "name msg id", and wants each for both roles of its service.
func (a *api) wantEvents(want ...string) []methods.Event {
	a.t.Helper()
	all := a.events.take()
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprint(e.Name, " ", e.Msg, " ", e.ID))
		if (e.Fields == nil) != (e.Msg == "removed") {
			a.t.Errorf("2.3: %s %s has fields %v", e.Name, e.Msg, e.Fields)
		}
		if roles := methods.EventNames()[e.Name]; roles == nil || !slices.Equal(e.Roles, roles) {
			a.t.Errorf("%s goes to %v, announced are %v", e.Name, e.Roles, roles)
		}
	}
	if !slices.Equal(got, want) {
		a.t.Errorf("2.3: events %q, want %q", got, want)
	}
	return all
}

func fieldsOf(t *testing.T, e methods.Event) string {
	t.Helper()
	text, err := json.Marshal(e.Fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// key makes a private key with ssh-keygen, and gives it with the line of its public key.
func key(t *testing.T, keyType, passphrase string) (private, public string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := sshd.GenerateKey(t.Context(), file, keyType, passphrase); err != nil {
		t.Fatal(err)
	}
	privateText, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	publicText, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return string(privateText), strings.Join(strings.Fields(string(publicText))[:2], " ") + "\n"
}

func quoted(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // of a text
	}
	return strings.TrimSpace(b.String())
}

// hostKey is a line that a host may show.
const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBVRNpFmBbmDe3fH8kRfuy4lR8KGWF5pKi7PXgtQvZxJ"

// withConnection keeps a key pair with the id 1 and a connection with the id 2, and gives the attributes of both.
func (a *api) withConnection() (pair, connection string) {
	a.t.Helper()
	private, public := key(a.t, "ed25519", "")
	a.must(admin(), "keychaincredential.create", `[{"name": "key", "type": "SSH_KEY_PAIR", "attributes": {"private_key": `+quoted(private)+`}}]`)
	a.must(admin(), "keychaincredential.create", `[{"name": "nas2", "type": "SSH_CREDENTIALS", "attributes": {"host": "nas2.example", "private_key": 1, "remote_host_key": "`+hostKey+`"}}]`)
	a.events.take()
	pair = fmt.Sprintf(`{"private_key": %s, "public_key": %s}`, quoted(private), quoted(public))
	connection = `{"host": "nas2.example", "port": 22, "username": "root", "private_key": 1, "remote_host_key": "` + hostKey + `", "connect_timeout": 10}`
	return pair, connection
}

// forgetful is a store that keeps no jobs.
type forgetful struct{}

func (forgetful) Load(context.Context) (list []jobs.Job, lastID int64, lastRev uint64, err error) {
	return nil, 0, 0, nil
}
func (forgetful) Insert(context.Context, jobs.Job) error { return nil }
func (forgetful) Update(context.Context, jobs.Job) error { return nil }
func (forgetful) Delete(context.Context, []int64) error  { return nil }
