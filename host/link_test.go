package host

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
)

// refused registers on a new connection, which has to fail with this error, after which the host closes.
func (h *testHost) refused(registration map[string]any, errno rpc.Errno, reason string) {
	h.t.Helper()
	p := newPlayed(h.t)
	p.connect(h.pluginURL())
	err := p.register(registration)
	if err == nil {
		h.t.Errorf("registered, want errno %d", errno)
		return
	}
	checkError(h.t, "registration", err, -32001, errno, "["+errno.Name()+"] "+reason)
	checkClosed(h.t, p.Conn, 1008, "registration refused")
}

const wrongSecret = "the token or secret is wrong or was used before"

// TestRegister is plugin.register of docs/host-protocol.md.
func TestRegister(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	token := h.NewToken()
	p := newPlayed(t)
	p.join(h, with(usual(), "token", token))
	first := p.answer
	if len(first.Secret) < 32 {
		t.Errorf("the reconnect secret has %d characters", len(first.Secret))
	}
	want := registered{Secret: first.Secret, Jobs: jobSeries{First: 1, Step: 16}, Host: hostNaming{Name: "zferry", Version: "1.2.3"}}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	h.refused(with(usual(), "token", token), 13, wrongSecret)
	h.refused(with(usual(), "token", "x"+token), 13, wrongSecret)
	h.refused(with(usual(), "secret", "x"+first.Secret), 13, wrongSecret)
	h.refused(with(usual(), "secret", token), 13, wrongSecret)
	h.refused(with(with(usual(), "secret", first.Secret), "name", "other"), 13, wrongSecret)

	// Another plugin has another series, and keeps it.
	other := newPlayed(t)
	offers := registrationOf("other", []offeredMethod{{Name: "other.do"}})
	other.join(h, with(offers, "token", h.NewToken()))
	if other.answer.Jobs.First != 2 {
		t.Errorf("series of another plugin: %d", other.answer.Jobs.First)
	}
	h.refused(with(registrationOf("third", []offeredMethod{{Name: "a.b"}, {Name: "replication.run"}, {Name: "core.ping"}, {Name: "other.do"}}), "token", h.NewToken()),
		17, "method replication.run is taken by the plugin zferry; method core.ping is taken by the host; method other.do is taken by the plugin other")
	h.refused(with(registrationOf("third", nil, offeredEvent{Name: "replication.query"}), "token", h.NewToken()),
		17, "event replication.query is taken by the plugin zferry")
	h.refused(with(with(usual(), "token", h.NewToken()), "pid", os.Getpid()+1), 17,
		"another process of the plugin zferry is registered, pid "+strconv.Itoa(os.Getpid()))

	// None of the refused has done any harm.
	c := h.login(h.adminKey())
	c.must("replication.query", nil)
	c.must("other.do", nil)

	dir := h.dir
	h.stop(nil)
	h = serveIn(t, dir)
	other.join(h, with(offers, "token", h.NewToken()))
	if other.answer.Jobs.First != 2 {
		t.Errorf("series after a restart: %d", other.answer.Jobs.First)
	}
}

func TestRegisterFaults(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	token := h.NewToken()
	good := with(usual(), "token", token)
	for _, tt := range []struct {
		name         string
		registration map[string]any
		errno        rpc.Errno
		reason       string
	}{
		{"newer protocol", with(good, "protocol", 2), 93, "protocol 2 is not supported; those that are: 1"},
		{"no protocol", with(good, "protocol", nil), 22, "registration: protocol is missing or is no number"},
		{"protocol is text", with(good, "protocol", "1"), 22, "registration: protocol is missing or is no number"},
		{"no name", with(good, "name", ""), 22, "registration: name must be 1 to 64 letters, digits, dots, dashes and underscores"},
		{"name with a line end", with(good, "name", "a\nb"), 22, "registration: name must be 1 to 64 letters, digits, dots, dashes and underscores"},
		{"no process", with(good, "pid", 0), 22, "registration: pid and started must name the process"},
		{"neither token nor secret", usual(), 22, "registration: it must have either a token or a secret"},
		{"both", with(good, "secret", "x"), 22, "registration: it must have either a token or a secret"},
		{"token is a number", with(good, "token", 12345), 22, "registration: token has the wrong type"},
		{"method without namespace", with(good, "methods", []offeredMethod{{Name: "run"}}), 22, `registration: "run" is no name for a method`},
		{"method twice", with(good, "methods", []offeredMethod{{Name: "a.b"}, {Name: "a.b"}}), 22, "registration: method a.b stands there twice"},
		{"event without name", with(good, "events", []offeredEvent{{}}), 22, `registration: "" is no name for an event`},
		{"event twice", with(good, "events", []offeredEvent{{Name: "a.b"}, {Name: "a.b"}}), 22, "registration: event a.b stands there twice"},
		{"method of the host", with(good, "methods", []offeredMethod{{Name: "plugin.x"}}), 17, "method plugin.x is taken by the host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			(&testHost{Host: h.Host, t: t, addr: h.addr}).refused(tt.registration, tt.errno, tt.reason)
		})
	}
	// A registration that was refused has not used the token up.
	p := newPlayed(t)
	p.join(h, good)
}

// TestRegisterFirst is about those who do anything else.
func TestRegisterFirst(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	connect := func(t *testing.T) *playedPlugin {
		t.Helper()
		p := newPlayed(t)
		p.connect(h.pluginURL())
		return p
	}
	t.Run("another call", func(t *testing.T) {
		p := connect(t)
		err := p.Call(t.Context(), "plugin.health", struct{}{}, nil)
		checkError(t, "call", err, -32001, 22, "[EINVAL] a connection begins with plugin.register")
		checkClosed(t, p.Conn, 1008, "not registered")
	})
	t.Run("a notification", func(t *testing.T) {
		p := connect(t)
		p.tell(1, "RUNNING")
		checkClosed(t, p.Conn, 1008, "not registered")
	})
	t.Run("too much", func(t *testing.T) {
		p := connect(t)
		if err := p.register(with(usual(), "token", strings.Repeat("x", 1<<20))); err == nil {
			t.Error("registered")
		}
		checkClosed(t, p.Conn, 1009, "A frame may have 1048576 bytes at most")
	})
	h = serve(t, func(c *Config) { c.limits.register = time.Second })
	t.Run("nothing", func(t *testing.T) {
		checkClosed(t, connect(t).Conn, 1008, "not registered in time")
	})
	t.Run("and then much", func(t *testing.T) {
		p := newPlayed(t)
		p.join(h, with(usual(), "token", h.NewToken()))
		p.tell(1, "RUNNING", "description", strings.Repeat("x", 2<<20))
		eventually(t, "a job of two megabytes", func() bool {
			e, ok := h.plugins.named("zferry").jobs.get(1)
			return ok && len(e.fields) > 2<<20
		})
		time.Sleep(1100 * time.Millisecond) // more than a plugin has for its registration
		if err := p.Err(); err != nil {
			t.Errorf("a plugin that has registered was cut off: %v", err)
		}
		err := p.register(with(usual(), "token", h.NewToken()))
		checkError(t, "second registration", err, -32601, 0, "Method does not exist")
	})
}

// TestReconnect is the reconnect secret: new after each registration, and the one before is good until the host knows that the
// reply has come.
func TestReconnect(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	first := p.answer.Secret
	p.Close(0, "")
	p.rejoin(h)
	second := p.answer.Secret
	if second == first {
		t.Error("the reconnect secret is the same again")
	}
	// The plugin has answered plugin.jobs.list since.
	h.refused(with(usual(), "secret", first), 13, wrongSecret)
	c.must("replication.query", nil)

	// A connection that was lost before the reply came is what the plugin knows nothing of.
	deaf := h.deaf()
	var unseen registered
	if err := deaf.Call(t.Context(), "plugin.register", with(usual(), "secret", second), &unseen); err != nil {
		t.Fatal(err)
	}
	old := p.Conn
	checkClosed(t, old, 4001, "replaced by a new connection")
	deaf2 := newPlayed(t)
	deaf2.join(h, with(usual(), "secret", second))
	checkClosed(t, deaf, 4001, "replaced by a new connection")
	c.must("replication.query", nil)
	h.refused(with(usual(), "secret", second), 13, wrongSecret)
	h.refused(with(usual(), "secret", unseen.Secret), 13, wrongSecret)
	if err := deaf2.Err(); err != nil {
		t.Errorf("the connection that counts: %v", err)
	}

	// The same process may also come with a token, and another one when the first is gone.
	again := newPlayed(t)
	again.join(h, with(usual(), "token", h.NewToken()))
	checkClosed(t, deaf2.Conn, 4001, "replaced by a new connection")
	again.Close(0, "")
	next := newPlayed(t)
	next.join(h, with(with(usual(), "token", h.NewToken()), "pid", os.Getpid()+1))
	c.must("replication.query", nil)

	// A host that was restarted has forgotten the secret.
	dir := h.dir
	h.stop(nil)
	h = serveIn(t, dir)
	h.refused(with(usual(), "secret", next.answer.Secret), 13, wrongSecret)
}

// deaf connects a plugin that says nothing after its registration, as one that has never got the reply.
func (h *testHost) deaf() *rpc.Conn {
	h.t.Helper()
	deaf, err := rpc.Dial(h.t.Context(), h.pluginURL(), rpc.DialOptions{}, rpc.Options{
		Handler: func(ctx context.Context, _ *rpc.Conn, _ rpc.Request) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { deaf.Close(0, "") })
	return deaf
}

// TestFirstReplyLost has the reply to the first registration get lost: the only token that the plugin has is good once more, until
// a registration with it has been of use.
func TestFirstReplyLost(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	registration := with(usual(), "token", h.NewToken())
	deaf := h.deaf()
	if err := deaf.Call(t.Context(), "plugin.register", registration, nil); err != nil {
		t.Fatal(err)
	}
	h.refused(registration, 13, wrongSecret)
	deaf.Close(0, "")
	eventually(t, "the token is good once more", func() bool { return h.tokens.valid(fmt.Sprint(registration["token"])) })
	p := newPlayed(t)
	p.join(h, registration)
	p.Close(0, "")
	eventually(t, "the connection is known to be lost", func() bool { return h.plugins.named("zferry").current() == nil })
	h.refused(registration, 13, wrongSecret)
}

// TestAway is what clients are told while a plugin is away.
func TestAway(t *testing.T) {
	noLeaks(t)
	process := &playedProcess{status: PluginStatus{State: PluginStarting}}
	supervised := func(c *Config) {
		c.Plugins = []Supervised{{Name: "zferry", Start: process.start}}
		c.Ready = nil // it waits for the plugin
	}
	dir := shortDir(t)
	h := serveIn(t, dir, supervised)
	c := h.dial(h.addr.Client)
	c.fails(-32001, 207, "[ENOTAUTHENTICATED] Not authenticated", "replication.query")
	c.must("auth.login_with_api_key", nil, h.adminKey())
	// It has never said what it has: any method might be one of its.
	c.fails(-32001, 11, "[EAGAIN] the plugin zferry is not running: it is being started", "what.ever")
	url, token, ca := process.credentials()
	if url != h.addr.Plugin || ca != "" {
		t.Errorf("credentials: url %q, certificates %q", url, ca)
	}
	p := newPlayed(t)
	p.join(h, with(usual(), "token", token))
	c.fails(-32601, 0, "Method does not exist", "what.ever")
	c.must("replication.query", nil)
	p.tell(17, "RUNNING")
	eventually(t, "the job", func() bool {
		return c.call("core.get_jobs", nil, []any{[]any{"id", "=", 17}}, map[string]any{"get": true}) == nil
	})

	// Calls under way have an unknown outcome.
	begun := make(chan bool)
	p.on("replication.query", func(ctx context.Context, _ forwarded) (any, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	result := make(chan error)
	go func() { result <- c.call("replication.query", nil) }()
	<-begun
	p.Close(0, "")
	err := <-result
	if wire := rpc.ToWire(err); wire.Code != -32001 || !strings.Contains(string(wire.Data), `"reason":"[ECONNRESET] outcome unknown: `) {
		t.Errorf("call under way: %d %s", wire.Code, wire.Data)
	}

	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	check := func(status PluginStatus, reason string) {
		t.Helper()
		process.set(status)
		for _, method := range []string{"replication.query", "replication.run"} {
			c.fails(-32001, 11, "[EAGAIN] "+reason, method)
		}
		c.fails(-32001, 11, "[EAGAIN] "+reason, "core.job_abort", 17)
		c.fails(-32601, 0, "Method does not exist", "what.ever")
	}
	down := PluginStatus{State: PluginDown, Err: errAborted, RetryAt: at}
	check(down, "the plugin zferry is not running: aborted; it is started again at 2026-01-02T03:04:05Z")
	check(unreachable(4711, at), "the running plugin cannot be reached, pid 4711")
	check(PluginStatus{State: PluginRunning, PID: 4711}, "the plugin zferry has not connected yet, pid 4711")
	check(PluginStatus{State: PluginStopped}, "the plugin zferry is not running: the host is not ready or ends")
	// The host goes on with what it can do.
	var jobs []wireJob
	c.must("core.get_jobs", &jobs)
	if len(jobs) != 1 || jobs[0].ID != 17 {
		t.Errorf("jobs while the plugin is away: %+v", jobs)
	}
	c.must("core.subscribe", nil, jobsCollection)

	// A host that was restarted knows the methods and events, but not the jobs.
	h.stop(nil)
	process.set(down)
	h = serveIn(t, dir, supervised)
	c = h.login(h.adminKey())
	check(down, "the plugin zferry is not running: aborted; it is started again at 2026-01-02T03:04:05Z")
	reader := h.login(h.userKey("reader", "REPLICATION_TASK_READ"))
	reader.must("core.subscribe", nil, "replication.query")
	reader.fails(-32001, 13, "[EACCES] Not authorized", "replication.create")
	reader.fails(-32602, 22, "[ENOENT] None: Job with id 18 does not exist", "core.job_abort", 18)
}

// playedProcess is a process that only says how it is.
type playedProcess struct {
	credentials func() (url, token, caPEM string)
	ended       chan error // gets the cause of the end, if not nil

	mu     sync.Mutex // guards status
	status PluginStatus
}

func (p *playedProcess) start(credentials func() (url, token, caPEM string)) (Process, error) {
	p.credentials = credentials
	return p, nil
}

func (p *playedProcess) Run(ctx context.Context) error {
	<-ctx.Done()
	if p.ended != nil {
		p.ended <- context.Cause(ctx)
	}
	return nil
}

func (p *playedProcess) Status() PluginStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

func (p *playedProcess) set(s PluginStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = s
}

// TestTokenFile is about plugins that somebody else starts, and starts again.
func TestTokenFile(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(shortDir(t), "token")
	h := serve(t, func(c *Config) { c.TokenFile = file })
	seen := make(map[string]bool)
	for range 3 {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		token := read(t, file)
		if info.Mode().Perm() != 0o600 || len(token) < 32 || seen[token] {
			t.Errorf("mode %o, %d characters, seen before: %v", info.Mode().Perm(), len(token), seen[token])
		}
		seen[token] = true
		p := newPlayed(t)
		p.join(h, with(usual(), "token", token))
		p.Close(0, "")
	}
	before := read(t, file)
	h.stop(nil)
	serveIn(t, h.dir, func(c *Config) { c.TokenFile = file })
	if read(t, file) == before {
		t.Error("a host that was restarted has written no new token")
	}
}

func TestTokens(t *testing.T) {
	var ts tokens
	first := ts.issue()
	var last string
	for range maxTokens {
		last = ts.issue()
	}
	if ts.valid(first) {
		t.Errorf("after %d others the first token is still good", maxTokens)
	}
	if !ts.valid(last) {
		t.Error("the last token is not good")
	}
	for i, want := range []bool{true, false} {
		if ok, err := ts.use(last); ok != want || err != nil {
			t.Errorf("use %d: %v, %v", i, ok, err)
		}
	}

	file := filepath.Join(t.TempDir(), "token")
	ts = tokens{file: file}
	if err := ts.fill(); err != nil {
		t.Fatal(err)
	}
	for range maxTokens + 1 {
		ts.issue()
	}
	if !ts.valid(read(t, file)) {
		t.Error("the file's token is not good any more, although nobody has used it")
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	if ok, err := ts.use(ts.issue()); !ok || err != nil {
		t.Errorf("a token that is not the file's: %v, %v", ok, err)
	}
}

// TestMounted takes a plugin in over TCP, where somebody else serves.
func TestMounted(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	server := httptest.NewServer(h.PluginHandler())
	defer server.Close()
	p := newPlayed(t)
	p.connect("ws" + strings.TrimPrefix(server.URL, "http") + "/plugin/v1")
	if err := p.register(with(usual(), "token", h.NewToken())); err != nil {
		t.Fatal(err)
	}
	c := h.login(h.adminKey())
	eventually(t, "an answer", func() bool { return c.call("replication.query", nil) == nil })
	h.stop(nil)
	checkClosed(t, p.Conn, 1001, "The server is going away")
}

// TestLog is plugin.log.
func TestLog(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	p.send("plugin.log", map[string]any{"time": "2026-01-02T03:04:05Z", "level": "WARN", "message": "disk is full", "attrs": map[string]any{"pool": "tank", "free": 12, "dropped": 3}})
	p.send("plugin.log", map[string]any{"time": "2026-01-02T03:04:05Z", "level": "loud", "message": "lost"})
	p.send("plugin.log", map[string]any{"time": "2026-01-02T03:04:05Z", "level": "INFO", "message": strings.Repeat("x", 100_000)})
	p.send("plugin.later", map[string]any{"what": 1})
	p.tell(1, "RUNNING")
	eventually(t, "what was sent after the lines", func() bool { _, ok := h.plugins.named("zferry").jobs.get(1); return ok })
	logs := h.logs.String()
	want := `{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"disk is full","peer":"@","plugin":"zferry","dropped":"3","free":"12","pool":"tank"}`
	if !strings.Contains(logs, want) {
		t.Errorf("the log has not %s:\n%s", want, logs)
	}
	if strings.Contains(logs, strings.Repeat("x", maxLogText+1)) {
		t.Error("a line was not cut")
	}
}

// TestRegisterWithoutDisk: a plugin that was here before gets in also when nothing can be written.
func TestRegisterWithoutDisk(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	closed, err := state.Open(t.Context(), shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	h.plugins.registering.Lock()
	h.plugins.store = closed
	h.plugins.registering.Unlock()
	p.Close(0, "")
	p.rejoin(h)
	p.Close(0, "")
	c := h.login(h.adminKey())
	more := registrationOf("zferry", []offeredMethod{{Name: "zferry.more"}})
	p.join(h, with(more, "secret", p.answer.Secret))
	c.must("zferry.more", nil)
	c.fails(-32601, 0, "Method does not exist", "zferry.version")
	if !strings.Contains(h.logs.String(), "what a plugin offers could not be stored") {
		t.Error("nothing is said of it in the log")
	}
	other := newPlayed(t)
	other.connect(h.pluginURL())
	if err := other.register(with(registrationOf("other", nil), "token", h.NewToken())); err == nil {
		t.Error("a new plugin got a series that was not stored")
	}
}
