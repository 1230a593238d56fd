package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tap passes connections on and keeps what the host has sent on them. A server does not mask its frames, so that their text can
// be read as it is.
type tap struct {
	url  string
	sent lockedBuffer
}

// tapOf listens in front of a host's address.
func tapOf(t *testing.T, network, target, listen, url string) *tap {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), network, listen)
	if err != nil {
		t.Fatal(err)
	}
	tp := &tap{url: fmt.Sprintf(url, l.Addr())}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { tp.pass(context.WithoutCancel(t.Context()), near, network, target) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return tp
}

func (tp *tap) pass(ctx context.Context, near net.Conn, network, target string) {
	defer near.Close()
	far, err := (&net.Dialer{}).DialContext(ctx, network, target)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(far, near) // ends with the client
		_ = far.Close()
	})
	_, _ = io.Copy(io.MultiWriter(near, &tp.sent), far) // ends with the host
	_ = near.Close()
	both.Wait()
}

// TestSecrets plants every kind of secret and looks for it in the log and in all that the host sends.
func TestSecrets(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(shortDir(t), "token")
	h := serve(t, func(c *Config) { c.TokenFile = file })
	clients := tapOf(t, "tcp", strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "ws://"), "/api/current"), "127.0.0.1:0", "ws://%s/api/current")
	plugins := tapOf(t, "unix", strings.TrimPrefix(h.addr.Plugin, "unix://"), filepath.Join(shortDir(t), "tap"), "unix://%s?path=/plugin/v1")
	key, other := h.adminKey(), h.userKey("ann", "REPLICATION_TASK_READ")
	secrets := map[string]string{"API key": key, "API key of another": other, "token in the file": read(t, file), "token": h.NewToken(), "unused token": h.NewToken()}
	expected := make(map[string]int) // of which secret the plugin is sent how much

	// Registrations that work and that do not.
	join := func(registration map[string]any) *playedPlugin {
		t.Helper()
		p := newPlayed(t)
		p.connect(plugins.url)
		if err := p.register(registration); err == nil {
			name := fmt.Sprint("reconnect secret ", len(secrets))
			secrets[name] = p.answer.Secret
			expected[name] = 1
		} else if !strings.Contains(err.Error(), "has the wrong type") && !strings.Contains(err.Error(), wrongSecret) {
			t.Error(err)
		}
		return p
	}
	p := join(with(usual(), "token", secrets["token"]))
	join(with(usual(), "token", secrets["token"])).Close(0, "")
	join(with(usual(), "token", "x"+secrets["unused token"])).Close(0, "")
	join(with(with(usual(), "token", secrets["unused token"]), "name", 5)).Close(0, "")
	join(with(usual(), "secret", "x"+p.answer.Secret)).Close(0, "")
	p.Close(0, "")
	p = join(with(usual(), "secret", p.answer.Secret))
	p.Close(0, "")
	p = join(with(usual(), "token", secrets["token in the file"]))
	secrets["next token in the file"] = read(t, file)

	// Logins that work and that do not, and calls.
	c := h.dial(clients.url)
	for _, wrong := range []string{key + "x", key[:len(key)-1], "2" + key[1:], other + "\n"} {
		var ok bool
		if c.must("auth.login_with_api_key", &ok, wrong); ok {
			t.Errorf("a wrong key was accepted")
		}
	}
	c.must("auth.login_ex", nil, map[string]any{"mechanism": "API_KEY_PLAIN", "username": "ann", "api_key": key})
	for _, params := range [][]any{
		{map[string]any{"mechanism": "API_KEY_PLAIN", "username": 1, "api_key": key}},
		{map[string]any{"mechanism": "API_KEY_PLAIN", "username": "admin", "api_key": []any{key}}},
		{map[string]any{"mechanism": "PASSWORD_PLAIN", "username": "admin", "password": key}},
		{key, key},
	} {
		if err := c.call("auth.login_ex", nil, params...); err == nil {
			t.Errorf("no error for %d parameters", len(params))
		}
	}
	c.must("auth.login_ex", nil, map[string]any{"mechanism": "API_KEY_PLAIN", "username": "admin", "api_key": key})
	c.must("auth.login_with_api_key", nil, other)
	c.must("auth.login_with_api_key", nil, key)
	c.subscribe("*")
	eventually(t, "an answer", func() bool { return c.call("replication.query", nil) == nil })
	p.tell(1, "RUNNING")
	c.jobEvents("added 1 RUNNING")
	c.must("core.job_wait", nil, 1)
	c.must("core.get_jobs", nil)
	c.must("auth.me", nil)
	path := "x"
	p.tell(17, "SUCCESS", "logs_path", &path)
	var url string
	eventually(t, "the log's URL", func() bool { return c.call("core.job_download_logs", &url, 17, "x") == nil })
	_, secrets["download token"], _ = strings.Cut(url, "auth_token=")
	p.send("plugin.event", map[string]any{"name": "replication.query", "msg": "shouted"})
	p.Close(0, "")
	c.Close(0, "")
	h.stop(nil)

	logs, toClients, toPlugins := h.logs.String(), clients.sent.String(), plugins.sent.String()
	if !strings.Contains(toClients, `"core.get_jobs"`) || !strings.Contains(toPlugins, `"plugin.call"`) || !strings.Contains(logs, "refused an API key") {
		t.Fatalf("the taps or the log have nothing:\n%s\n%s\n%s", logs, toClients, toPlugins)
	}
	for name, secret := range secrets {
		if secret == "" {
			t.Fatalf("no %s", name)
		}
		if strings.Contains(logs, secret) {
			t.Errorf("%s stands in the log", name)
		}
		want := 0
		if name == "download token" {
			want = 1
		}
		if got := strings.Count(toClients, secret); got != want {
			t.Errorf("%s: clients were sent it %d times, want %d", name, got, want)
		}
		if got := strings.Count(toPlugins, secret); got != expected[name] {
			t.Errorf("%s: plugins were sent it %d times, want %d", name, got, expected[name])
		}
	}
}

// TestHidden prints a registration in every way.
func TestHidden(t *testing.T) {
	r := registration{Token: "planted", Secret: "planted"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "r", r, "token", r.Token)
	for _, text := range []string{fmt.Sprint(r), fmt.Sprintf("%+v", r), fmt.Sprintf("%#v", r), fmt.Sprintf("%s %q", r.Token, r.Secret), log.String()} {
		if strings.Contains(text, "planted") {
			t.Errorf("shows the secret: %s", text)
		}
	}
}
