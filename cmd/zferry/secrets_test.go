package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/testing/sshd"
)

// traces are the texts by which a secret is found, whole or in part, as it is or encoded.
type traces map[string][]string // by what the secret is

func (tr traces) plant(name, secret string) {
	parts := []string{secret}
	if strings.HasPrefix(secret, "-----BEGIN") {
		// What stands in the first line of the body is the same in all keys of a type.
		lines := strings.Split(strings.TrimSpace(secret), "\n")
		parts = lines[2 : len(lines)-1]
	}
	for _, part := range parts {
		part = strings.TrimSpace(part)
		tr[name] = append(tr[name], part[:min(len(part), 24)])
		for shift := range 3 { // wherever it stands in what was encoded
			tr[name] = append(tr[name], base64.StdEncoding.EncodeToString([]byte(part[shift:shift+12])))
		}
		tr[name] = append(tr[name], hex.EncodeToString([]byte(part[:12])))
	}
}

// find lists where secrets are: texts by where they come from.
func (tr traces) find(texts map[string]string) (found []string) {
	for _, where := range slices.Sorted(maps.Keys(texts)) {
		for name, list := range tr {
			for _, trace := range list {
				if i := strings.Index(texts[where], trace); i >= 0 {
					found = append(found, fmt.Sprintf("%s: %s: …%q…", where, name, texts[where][max(0, i-80):min(len(texts[where]), i+len(trace)+20)]))
					break
				}
			}
		}
	}
	return found
}

// filesUnder reads all files of a folder but those that are for secrets.
func filesUnder(t testing.TB, dir string) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if d.Name() == "admin-api-key" || strings.HasSuffix(name, ".key") && path.Base(path.Dir(name)) == "tls" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		texts["file "+name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// observer keeps the words and environments of all processes that work in a folder.
type observer struct {
	mu   sync.Mutex // guards seen
	seen map[string]bool
}

func (o *observer) look(ctx context.Context, dir string) {
	for ctx.Err() == nil {
		found := processesOf(dir)
		o.mu.Lock()
		for _, text := range found {
			o.seen[text] = true
		}
		o.mu.Unlock()
		wait(ctx, 20*time.Millisecond)
	}
}

func (o *observer) texts() map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	texts := make(map[string]string)
	for text := range o.seen {
		texts["process "+cut(text, 60)+fmt.Sprint(len(texts))] = text
	}
	return texts
}

// TestTraces shows that what TestSecrets looks with finds what it is for.
func TestTraces(t *testing.T) {
	dir := t.TempDir()
	key := newPrivateKey(t)
	tr := make(traces)
	tr.plant("private key", key)
	tr.plant("API key", "1-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg")
	asJSON, err := json.Marshal(map[string]string{"private_key": key})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(key, "\n")
	leaks := map[string]string{
		"whole":        "x" + key + "y",
		"JSON":         string(asJSON),
		"JSON in JSON": fmt.Sprintf("%q", asJSON),
		"one line":     "msg=" + lines[3] + " more",
		"part":         "key 1-AbCdEfGhIjKlMnOpQrStUvWx…",
		"base64":       base64.StdEncoding.EncodeToString([]byte("ab" + key)),
		"base64 of":    base64.StdEncoding.EncodeToString([]byte("token=1-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg")),
		"hex":          hex.EncodeToString([]byte(key)),
	}
	for name, text := range leaks {
		if found := tr.find(map[string]string{name: text}); len(found) == 0 {
			t.Errorf("the leak %q is not found", name)
		}
	}
	clean := map[string]string{"public": lines[0] + lines[1], "public key": publicKeyOf(t, key), "other": "1-AbCdEfGhIjKl 2025"}
	if found := tr.find(clean); found != nil {
		t.Errorf("found where nothing is: %q", found)
	}
	// A file, and a process.
	if err := os.MkdirAll(filepath.Join(dir, "plugin", "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"plugin/logs.txt": 1, "plugin/tls/x.key": 0, "admin-api-key": 0, "secret.key": 1} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if found := tr.find(filesUnder(t, dir)); len(found) != want {
			t.Errorf("%s: found %q", name, found)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	for _, leaking := range []*exec.Cmd{exec.Command("sleep", "60"), exec.Command("sh", "-c", "sleep 60; true", dir, lines[4])} {
		leaking.Env = []string{"DIR=" + dir, "KEY=" + lines[4]}
		if len(leaking.Args) > 3 {
			leaking.Env = nil
		}
		if err := leaking.Start(); err != nil {
			t.Fatal(err)
		}
		o := &observer{seen: make(map[string]bool)}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		o.look(ctx, dir)
		cancel()
		if found := tr.find(o.texts()); len(found) == 0 {
			t.Errorf("a process with a key is not found: %q", o.texts())
		}
		for pid := range processesOf(dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = leaking.Process.Kill()
		_ = leaking.Wait()
	}
}

func newPrivateKey(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := sshd.GenerateKey(t.Context(), file, "ed25519", ""); err != nil {
		t.Fatal(err)
	}
	return readText(t, file) + "\n"
}

func publicKeyOf(t testing.TB, private string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-y", "-f", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// listener is a client that keeps what it is told.
type listener struct {
	*rpc.Client
	t    testing.TB
	name string
	told recorder
}

func (s *served) listen(name, key string) *listener {
	s.t.Helper()
	l := &listener{t: s.t, name: name}
	o := rpc.ClientOptions{URL: s.url(), OnEvent: func(e rpc.Event) {
		fmt.Fprintf(&l.told, "event %s %s %s %s\n", e.Collection, e.Msg, e.Fields, e.Extra)
	}}
	if key != "" {
		o.Login = func(ctx context.Context, c *rpc.Conn) error {
			var ok bool
			if err := c.Call(ctx, "auth.login_with_api_key", []any{key}, &ok); err != nil || !ok {
				return fmt.Errorf("login: %v, %w", ok, err)
			}
			return nil
		}
	}
	l.Client = rpc.NewClient(o)
	s.t.Cleanup(l.Close)
	return l
}

// asks calls a method, and keeps what it is answered.
func (l *listener) asks(method string, params ...any) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), patience)
	defer cancel()
	var result json.RawMessage
	err := l.Call(ctx, method, params, &result)
	fmt.Fprintf(&l.told, "%s %s %v\n", method, result, err)
	if wire := rpc.ToWire(err); wire != nil {
		fmt.Fprintf(&l.told, "%s %s\n", wire.Message, wire.Data)
	}
}

// TestSecrets plants every kind of secret and looks for it wherever it must not be.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	far := sshd.Start(t, sshd.Options{Env: map[string]string{"PATH": s.bin + ":" + os.Getenv("PATH"), "FAKEZFS": s.path("system"), "GORACE": "atexit_sleep_ms=0"}})
	s.do("zfs create tank/a")
	s.do("zfs fake-write tank/a 100000")
	s.do("zfs snapshot tank/a@one")
	o := &observer{seen: make(map[string]bool)}
	looking, stop := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	defer watch.Wait()
	defer stop()
	watch.Go(func() { o.look(looking, s.dir) })
	// The first start makes the administrator; two more users are made while nobody serves.
	s.start("--token-file", s.path("token"))
	s.signal(syscall.SIGTERM)
	readerKey, nobodyKey := s.addUser("reader", "REPLICATION_TASK_READ", "KEYCHAIN_CREDENTIAL_READ"), s.addUser("nobody")
	s.start("--token-file", s.path("token"))

	tr := make(traces)
	private, spare := readText(t, far.PrivateKey), newPrivateKey(t)
	tr.plant("private key", private)
	tr.plant("private key that is refused", spare)
	tr.plant("API key", s.read("data", "admin-api-key"))
	tr.plant("API key of a reader", readerKey)
	tr.plant("API key of somebody", nobodyKey)
	tr.plant("registration token", s.read("token"))
	const keys = 7
	encryption := make([]string, keys)
	for i := range encryption {
		encryption[i] = fmt.Sprintf("%d%s", 4711, strings.Repeat(fmt.Sprint(i+1), 16)) // also a number
		tr.plant(fmt.Sprint("encryption key ", i), encryption[i])
	}

	reader, nobody, root := s.listen("reader", readerKey), s.listen("nobody", nobodyKey), s.listen("root", "")
	for _, l := range []*listener{reader, nobody, root} {
		for _, collection := range []string{"core.get_jobs", "replication.query", "keychaincredential.query"} {
			l.asks("core.subscribe", collection)
		}
	}
	connection := s.connect(far)
	task := s.task("nightly", connection, "tank/a", "backup/a")
	s.succeeds(s.run(task))
	s.mistakes(root, spare, readerKey, encryption)
	s.attachSecond()
	s.commands(spare, readerKey)
	s.killPlugin()
	s.succeeds(s.runSoon(task))
	for _, l := range []*listener{reader, nobody} {
		for _, method := range []string{"keychaincredential.query", "replication.query", "core.get_jobs"} {
			l.asks(method)
		}
		l.asks("keychaincredential.get_instance", 1)
		l.asks("keychaincredential.query", []any{[]any{"attributes.private_key", "^", "-----BEGIN"}})
	}
	root.asks("core.get_jobs")
	token := s.read("token")
	tr.plant("registration token", token)
	s.signal(syscall.SIGTERM)
	s.alone(10 * time.Second)
	stop()
	watch.Wait()

	texts := filesUnder(t, s.path("data"))
	texts["serve.log"] = s.log("serve.log")
	texts["second plugin"] = s.log("second.log")
	texts["commands"] = s.log("commands.log")
	for _, l := range []*listener{reader, nobody, root} {
		texts["client "+l.name] = l.told.String()
	}
	maps.Copy(texts, o.texts())
	for _, leak := range tr.find(texts) {
		t.Error(leak)
	}
	s.nothingLikeASecret(texts)
	t.Logf("%d kinds of secrets, %d traces of them in %d texts: %d files, %d processes", len(tr), countTraces(tr), len(texts), len(filesUnder(t, s.path("data"))), len(o.texts()))
	for _, want := range []struct{ where, text string }{
		{"client reader", `event core.get_jobs`},
		{"client reader", `event replication.query`},
		{"client root", `"encryption_key":"********"`},
		{"client nobody", "Not authorized"},
		{"serve.log", "registered a plugin"},
		{"file plugin/plugin.log", "registered with the host"},
		{"second plugin", "the host refuses this plugin"},
		{"file plugin/logs/1.log", "planned"},
		{"client root", "login"},
	} {
		if !strings.Contains(texts[want.where], want.text) {
			t.Errorf("%s has no %q, so that nothing could have been found there:\n%s", want.where, want.text, lastLines(texts[want.where]))
		}
	}
}

func countTraces(tr traces) (n int) {
	for _, list := range tr {
		n += len(list)
	}
	return n
}

func (s *served) read(elements ...string) string {
	s.t.Helper()
	return readText(s.t, s.path(elements...))
}

func readText(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// addUser makes a user and its API key, while nobody serves.
func (s *served) addUser(name string, roles ...string) (key string) {
	s.t.Helper()
	store, err := state.Open(s.t.Context(), s.path("data"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	if _, err = store.AddUser(s.t.Context(), state.User{Name: name, Roles: roles}); err == nil {
		_, key, err = store.AddKey(s.t.Context(), name, "test")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// mistakes calls methods with secrets in ways that fail.
func (s *served) mistakes(l *listener, private, key string, encryption []string) {
	s.t.Helper()
	pair := func(value any) map[string]any {
		return map[string]any{"name": "key", "type": "SSH_KEY_PAIR", "attributes": map[string]any{"private_key": value}}
	}
	l.asks("keychaincredential.create", pair(private)) // the name is taken
	l.asks("keychaincredential.create", pair(strings.Replace(private, "OPENSSH", "CLOSED", 1)))
	l.asks("keychaincredential.create", pair(private[:len(private)-60]))
	l.asks("keychaincredential.create", pair([]string{private}))
	l.asks("keychaincredential.create", pair(private), private)
	l.asks("keychaincredential.create", private)
	l.asks("keychaincredential.create", map[string]any{"name": "x", "type": "SSH_KEY_PAIR", "attributes": private})
	l.asks("keychaincredential.create", map[string]any{"name": "x", "type": "SSH_KEY_PAIR", "attributes": map[string]any{"private_key": private, "public_key": "ssh-rsa AAAA"}})
	l.asks("keychain.setup_ssh", map[string]any{"private_key": private, "connection_name": "c", "setup_type": "MANUAL"})
	l.asks("auth.login_with_api_key", key+"x")
	l.asks("auth.login_with_api_key", []string{key})
	l.asks("auth.login_ex", map[string]any{"mechanism": "API_KEY_PLAIN", "username": []string{"x"}, "api_key": key})
	task := map[string]any{
		"name": "secret", "direction": "PUSH", "transport": "LOCAL", "source_datasets": []string{"tank/a"}, "target_dataset": "backup/b", "recursive": true,
		"auto": false, "name_regex": ".*", "retention_policy": "NONE", "properties": false, "readonly": "IGNORE",
	}
	with := func(value any) map[string]any {
		changed := maps.Clone(task)
		changed["encryption_key"] = value
		return changed
	}
	l.asks("replication.create", with(encryption[0]))
	delete(task, "name")
	delete(task, "auto")
	for _, value := range []any{
		encryption[1], []string{encryption[2]}, json.Number(encryption[3]), map[string]any{"key": encryption[4]}, []any{[]any{json.Number(encryption[5])}},
	} {
		l.asks("replication.run_onetime", with(value))
	}
	l.asks("replication.run_onetime", with(nil), map[string]any{"encryption_key": encryption[6]})
}

// runSoon starts a run as soon as the plugin is back.
func (s *served) runSoon(task int64) (job int64) {
	s.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := s.ctx()
		err := s.client.Call(ctx, "replication.run", []any{task}, &job)
		cancel()
		if err == nil {
			return job
		}
		if time.Now().After(limit) {
			s.t.Fatal(err)
		}
	}
}

// attachSecond has another process show the host the token of the file: its name is taken.
func (s *served) attachSecond() {
	s.t.Helper()
	log, err := os.Create(s.path("second.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("zferry-plugin", "attach", "--data-dir", s.path("second"), "--url", "unix://"+s.path("data", "plugin.sock"), "--token-file", s.path("token"))
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for limit := time.Now().Add(patience); !strings.Contains(s.log("second.log"), "refuses this plugin") && time.Now().Before(limit); {
		time.Sleep(10 * time.Millisecond)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("a plugin that is refused: %v", err)
	}
}

// commands uses secrets on the command line as its help says.
func (s *served) commands(private, key string) {
	s.t.Helper()
	argument, err := json.Marshal(map[string]any{"name": "key", "type": "SSH_KEY_PAIR", "attributes": map[string]any{"private_key": private + "x"}})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path("reader-key"), []byte(key), 0o600); err != nil {
		s.t.Fatal(err)
	}
	var all []byte
	for _, args := range [][]string{
		{"keychaincredential.create", "-"}, {"--api-key-file", s.path("reader-key"), "keychaincredential.create", "-"}, {"--api-key-file", s.path("reader-key"), "core.ping"},
	} {
		cmd := exec.CommandContext(s.t.Context(), "zferry", append([]string{"call", "--url", s.url()}, args...)...)
		cmd.Stdin = strings.NewReader(string(argument))
		out, _ := cmd.CombinedOutput() // some of them fail
		all = append(all, out...)
	}
	if err := os.WriteFile(s.path("commands.log"), all, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// nothingLikeASecret wants no text of the form of a token or secret of the host where none belongs: those that go between
// host and plugin are not known here.
func (s *served) nothingLikeASecret(texts map[string]string) {
	s.t.Helper()
	form := regexp.MustCompile(`[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*`)
	for where, text := range texts {
		if !strings.HasSuffix(where, ".log") && !strings.HasPrefix(where, "process ") {
			continue
		}
		for _, word := range form.FindAllString(text, -1) {
			if len(word) == 43 && strings.ToLower(word) != word && strings.ToUpper(word) != word {
				s.t.Errorf("%s: what is %q?", where, word)
			}
		}
	}
}
