package host

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/rpc"
)

// TestVersions is truenas-api.md 1.1.
func TestVersions(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	url := "http" + strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "ws"), "/api/current")
	response := get(t, http.DefaultClient, url+"/api/versions")
	var got []string
	if err := json.Unmarshal([]byte(response.text), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(versions(), got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	p := h.plugin()
	for path, want := range map[string]string{"current": "current", "v27.0.0": "v27.0.0", "v25.10.4": "v25.10.2", "v25.04.0": "v25.04.0", "v24.10": "v24.10"} {
		c := h.dial(strings.Replace(h.addr.Client, "current", path, 1))
		c.must("auth.login_with_api_key", nil, h.adminKey())
		c.must("replication.query", nil)
		if path == "current" {
			c.must("zferry.version", nil)
		} else {
			c.fails(-32001, 201, "[ENOMETHOD] Method 'version' not found in 'zferry'", "zferry.version")
		}
		if got := p.lastCall().Caller.API; got != want {
			t.Errorf("api of a call over %s is %q, want %q", path, got, want)
		}
	}
	if got := get(t, http.DefaultClient, url+"/api/v23.10").status; got != http.StatusNotFound {
		t.Errorf("unknown version: status %d", got)
	}
}

type fetched struct {
	status int
	header http.Header
	text   string
}

func get(t *testing.T, client *http.Client, url string) fetched {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer client.CloseIdleConnections()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
	}
	return fetched{response.StatusCode, response.Header, string(text)}
}

// TestLogin is truenas-api.md 1.3, 1.7 and 7.
func TestLogin(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	h.plugin()
	admin := h.adminKey()
	reader := h.userKey("reader", "REPLICATION_TASK_READ")
	c := h.dial(h.addr.Client)
	notAuthenticated := func() {
		t.Helper()
		for _, method := range []string{"core.subscribe", "core.get_jobs", "core.job_wait", "auth.me", "auth.logout", "replication.query", "zferry.version"} {
			c.fails(-32001, 207, "[ENOTAUTHENTICATED] Not authenticated", method, jobsCollection)
		}
	}
	notAuthenticated()
	c.fails(-32601, 0, "Method does not exist", "replication.nothing")
	c.must("core.ping", nil)
	var mechanisms []string
	c.must("auth.mechanism_choices", &mechanisms)
	if diff := cmp.Diff([]string{"API_KEY_PLAIN"}, mechanisms); diff != "" {
		t.Errorf("mechanisms (-want +got):\n%s", diff)
	}

	var ok bool
	c.must("auth.login_with_api_key", &ok, admin[:len(admin)-1]+"-")
	if ok {
		t.Error("a wrong key was accepted")
	}
	login := func(data map[string]any) (result map[string]any) {
		t.Helper()
		c.must("auth.login_ex", &result, data)
		return result
	}
	key := func(user, key string) map[string]any {
		return map[string]any{"mechanism": "API_KEY_PLAIN", "username": user, "api_key": key}
	}
	for name, data := range map[string]map[string]any{
		"wrong key": key("admin", "1-abc"), "key of another": key("admin", reader), "no such user": key("nobody", reader),
	} {
		if diff := cmp.Diff(map[string]any{"response_type": "AUTH_ERR"}, login(data)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	notAuthenticated()

	result := login(key("reader", reader))
	info, _ := result["user_info"].(map[string]any)
	if result["response_type"] != "SUCCESS" || result["authenticator"] != "LEVEL_1" || info["pw_name"] != "reader" {
		t.Errorf("login: %v", result)
	}
	if token, ok := result["reconnect_token"]; token != nil || !ok {
		t.Errorf("reconnect_token = %v, %v; want null", token, ok)
	}
	var me map[string]any
	c.must("auth.me", &me)
	roles := me["privilege"].(map[string]any)["roles"]
	if diff := cmp.Diff(map[string]any{"$set": []any{"REPLICATION_TASK_READ"}}, roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	c.must("replication.query", nil)
	c.must("zferry.version", nil)
	c.fails(-32001, 13, "[EACCES] Not authorized", "replication.create")
	c.fails(-32001, 13, "[EACCES] Not authorized", "core.subscribe", "something.else")
	c.must("auth.logout", &ok)
	if !ok {
		t.Error("auth.logout did not give true")
	}
	notAuthenticated()

	data := key("admin", admin)
	data["login_options"] = map[string]any{"user_info": false}
	if result := login(data); result["response_type"] != "SUCCESS" || result["user_info"] != nil {
		t.Errorf("login without user_info: %v", result)
	}
	c.must("replication.create", nil)
	c.must("core.subscribe", nil, "something.else")
}

func TestLoginFaults(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := h.dial(h.addr.Client)
	for _, mechanism := range []string{"PASSWORD_PLAIN", "TOKEN_PLAIN", "OTP_TOKEN", "SCRAM"} {
		c.fails(-32001, 95, "[ENOTSUP] "+mechanism+": this server takes API_KEY_PLAIN only",
			"auth.login_ex", map[string]any{"mechanism": mechanism, "username": "a", "password": "b"})
	}
	c.fails(-32602, 22, "[EINVAL] login_data: Unable to extract tag using discriminator 'mechanism'\n", "auth.login_ex", map[string]any{})
	c.fails(-32602, 22, "[EINVAL] login_data: Input tag 'X' found using 'mechanism' does not match any of the expected tags: "+
		"'API_KEY_PLAIN', 'PASSWORD_PLAIN', 'TOKEN_PLAIN', 'OTP_TOKEN', 'SCRAM'\n", "auth.login_ex", map[string]any{"mechanism": "X"})
	c.fails(-32602, 22, "[EINVAL] login_data.API_KEY_PLAIN.username: Field required\n",
		"auth.login_ex", map[string]any{"mechanism": "API_KEY_PLAIN", "api_key": "1-x"})
	c.fails(-32602, 22, "[EINVAL] api_key: Field required\n", "auth.login_with_api_key")
}

func TestSessionExpires(t *testing.T) {
	s := &session{who: &identity{user: "admin", expires: time.Now().Add(-time.Second)}}
	_, err := s.authenticated()
	checkError(t, "authenticated", err, -32001, 13, "[EACCES] Session is expired")
	if s.wants(&publication{}) {
		t.Error("an expired session still gets events")
	}
}

// TestPeer is the login of local users: root and the server's own user need none.
func TestPeer(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	info, err := os.Stat(h.addr.Sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o666 {
		t.Errorf("mode of the socket is %o", got)
	}
	c := h.dial(h.socketURL())
	// More than somebody may send who is not logged in, and at once.
	c.must("replication.create", nil, strings.Repeat("x", 50_000))
	caller := p.lastCall().Caller
	if !caller.FullAdmin || !strings.Contains(string(caller.Credentials), `"UNIX_SOCKET"`) {
		t.Errorf("caller %+v", caller)
	}
	c.must("auth.logout", nil)
	c.fails(-32001, 207, "[ENOTAUTHENTICATED] Not authenticated", "replication.query")
	c.must("auth.login_with_api_key", nil, h.adminKey())
	c.must("replication.query", nil)

	if who := peerIdentity(os.Geteuid()); who == nil || !who.admin {
		t.Error("the server's own user is no administrator")
	}
	if who := peerIdentity(0); who == nil || who.user != "root" || !who.admin {
		t.Error("root is no administrator")
	}
	for _, uid := range []int{-1, os.Geteuid() + 1000} {
		if who := peerIdentity(uid); who != nil {
			t.Errorf("user %d is logged in as %s", uid, who.user)
		}
	}
}

// TestPeerOther connects as another user, which only root can do.
func TestPeerOther(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	if os.Geteuid() != 0 {
		t.Log("not root: TestPeer has looked at the rule")
		return
	}
	if err := os.Chmod(h.dir, 0o755); err != nil { // others have to reach the socket
		t.Fatal(err)
	}
	connected := make(chan net.Conn)
	go func() { // ends with the connection; its thread ends with it
		runtime.LockOSThread() // and keeps what follows from all others
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			t.Error(errno)
		}
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", h.addr.Sockets[0])
		if err != nil {
			t.Error(err)
		}
		connected <- conn
	}()
	conn := <-connected
	if conn == nil {
		return
	}
	c := rawClient(t, conn)
	check := func(call, want string) {
		t.Helper()
		c.write(`{"jsonrpc":"2.0","id":1,` + call + "}")
		if got := c.read(); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", call, got, want)
		}
	}
	check(`"method":"core.get_jobs"`, "[ENOTAUTHENTICATED] Not authenticated")
	check(`"method":"auth.login_with_api_key","params":["`+h.userKey("ann")+`"]`, `"result":true`)
	check(`"method":"core.get_jobs"`, `"result":[]`)
}

// TestFrameLimits is truenas-api.md 1.5.
func TestFrameLimits(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	h.plugin()
	t.Run("before the login", func(t *testing.T) {
		c := h.dial(h.addr.Client)
		c.must("core.set_options", nil, map[string]any{"x": strings.Repeat("é", 8000)})
		if err := c.call("core.set_options", nil, map[string]any{"x": strings.Repeat("x", 8192)}); err == nil {
			t.Error("a frame that is too large was answered")
		}
		c.closed(1007, "Anonymous connection max message length is 8 kB")
	})
	t.Run("after it", func(t *testing.T) {
		c := h.login(h.adminKey())
		c.must("replication.query", nil, strings.Repeat("é", 65_000))
		if err := c.call("replication.query", nil, strings.Repeat("x", 65_536)); err == nil {
			t.Error("a frame that is too large was answered")
		}
		c.closed(1009, "Max message length is 64 kB")
	})
	t.Run("after a logout", func(t *testing.T) {
		c := h.login(h.adminKey())
		c.must("auth.logout", nil)
		_ = c.call("core.ping", nil, strings.Repeat("x", 8192)) // the answer is the end
		c.closed(1007, "Anonymous connection max message length is 8 kB")
	})
}

// TestCallLimits is truenas-api.md 1.5 and decision 30, item 5: jobs that somebody waits for hold no slot.
func TestCallLimits(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	begun, release := make(chan bool, 100), make(chan bool)
	p.on("replication.query", func(context.Context, forwarded) (any, error) {
		begun <- true
		<-release
		return 1, nil
	})
	c := h.login(h.adminKey())
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			if err := c.call("replication.query", nil); err != nil {
				t.Errorf("one of 20: %v", err)
			}
		})
	}
	for range 10 {
		<-begun
	}
	// The others wait in the host. When all 20 have come, the next is refused.
	eventually(t, "refusal", func() bool {
		err := c.call("core.unsubscribe", nil, "x")
		return err != nil && strings.HasPrefix(rpc.ToWire(err).Message, "Maximum number")
	})
	c.fails(-32000, 0, "Maximum number of concurrent calls (20) has exceeded", "core.ping")
	select {
	case <-begun:
		t.Error("an eleventh call was carried out at the same time")
	default:
	}
	close(release)
	calls.Wait()

	p.on("replication.run", func(_ context.Context, f forwarded) (any, error) {
		var params []int64
		if err := json.Unmarshal(f.Params, &params); err != nil {
			return nil, err
		}
		id := params[0]*jobStep + 1
		p.tell(id, "RUNNING")
		return id, nil
	})
	c.must("core.set_options", nil, map[string]any{"legacy_jobs": false})
	for i := range 30 {
		calls.Go(func() {
			if err := c.call("replication.run", nil, i); err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		})
		eventually(t, "the job runs", func() bool {
			_, ok := h.plugins.named("zferry").jobs.get(int64(i*jobStep + 1))
			return ok
		})
	}
	c.must("core.ping", nil)
	for i := range 30 {
		p.tell(int64(i*jobStep+1), "SUCCESS")
	}
	calls.Wait()
}

// TestForward is what a plugin is told of a call, and what it answers.
func TestForward(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.userKey("ann", "REPLICATION_TASK_WRITE"))
	c.must("core.set_options", nil, map[string]any{"legacy_jobs": false})
	p.on("replication.create", func(_ context.Context, f forwarded) (any, error) {
		return map[string]any{"guid": json.RawMessage("18446744073709551615"), "params": f.Params}, nil
	})
	var result json.RawMessage
	c.must("replication.create", &result, map[string]any{"name": "a"}, nil)
	if want := `{"guid":18446744073709551615,"params":[{"name":"a"},null]}`; string(result) != want {
		t.Errorf("result %s, want %s", result, want)
	}
	caller := p.lastCall().Caller
	if caller.User != "ann" || caller.FullAdmin || caller.LegacyJobs || caller.Session == "" || !strings.HasPrefix(caller.Origin, "127.0.0.1:") {
		t.Errorf("caller %+v", caller)
	}
	if !slices.Equal(caller.Roles, []string{"REPLICATION_TASK_READ", "REPLICATION_TASK_WRITE"}) {
		t.Errorf("roles %v", caller.Roles)
	}
	if !json.Valid(caller.MessageID) || bytes.Equal(caller.MessageID, []byte("null")) {
		t.Errorf("message id %s", caller.MessageID)
	}
	var credentials struct {
		Type string
		Data struct {
			Username string
			APIKey   struct{ ID int } `json:"api_key"`
		}
	}
	if err := json.Unmarshal(caller.Credentials, &credentials); err != nil {
		t.Fatal(err)
	}
	if credentials.Type != "API_KEY" || credentials.Data.Username != "ann" || credentials.Data.APIKey.ID != 2 {
		t.Errorf("credentials %+v", credentials)
	}

	for _, want := range []error{
		rpc.Errorf(rpc.EBUSY, "busy"),
		&rpc.CallError{Errno: rpc.EFAULT, Reason: "x", Extra: []any{json.Number("1"), "a"}, Trace: &rpc.Trace{Class: "C", Formatted: "F", Repr: "R"}},
		rpc.ArgErrors{{Attribute: "a.b", Message: "no"}, {Null: true, Message: "nothing", Errno: rpc.ENOENT}},
		rpc.NotFound("Replication", 7),
		&rpc.Error{Code: -32603, Message: "Failed to JSON serialize server message", Data: json.RawMessage(`{"error":14}`)},
		rpc.ErrMethodNotFound,
	} {
		p.on("replication.create", func(context.Context, forwarded) (any, error) { return nil, want })
		err := c.call("replication.create", nil)
		if diff := cmp.Diff(rpc.ToWire(want), rpc.ToWire(err)); diff != "" {
			t.Errorf("error of the plugin (-want +got):\n%s", diff)
		}
	}
}

func TestSetOptions(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := h.dial(h.addr.Client)
	check := func(want string, options map[string]any) {
		t.Helper()
		var got json.RawMessage
		c.must("core.set_options", &got, options)
		if string(got) != want {
			t.Errorf("options %s, want %s", got, want)
		}
	}
	check(`{"legacy_jobs":true,"private_methods":false,"py_exceptions":false}`, map[string]any{})
	check(`{"legacy_jobs":false,"private_methods":true,"py_exceptions":false}`,
		map[string]any{"legacy_jobs": false, "private_methods": true, "unknown": []int{1}})
	c.fails(-32602, 22, "[EINVAL] options.legacy_jobs: Input should be a valid boolean\n", "core.set_options", map[string]any{"legacy_jobs": 1, "py_exceptions": true})
	check(`{"legacy_jobs":false,"private_methods":true,"py_exceptions":false}`, map[string]any{})
}
