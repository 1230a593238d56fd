package host

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// TestDownload is core.job_download_logs and GET /_download (truenas-api.md 2.6).
func TestDownload(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	base := "http" + strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "ws"), "/api/current")
	path := "/var/log/jobs/1.log"
	p.tell(1, "SUCCESS", "logs_path", &path)
	p.tell(17, "RUNNING")
	p.tell(33, "RUNNING", "logs_path", &path)
	log := strings.Repeat("a line of the log\n", 100_000) // more than the plugin may send without being read
	p.logs[1] = log
	eventually(t, "the jobs", func() bool { _, ok := h.plugins.named("zferry").jobs.get(33); return ok })
	link := func(c *testClient, job int, name string) string {
		t.Helper()
		var url string
		c.must("core.job_download_logs", &url, job, name)
		if !strings.HasPrefix(url, fmt.Sprintf("/_download/%d?auth_token=", job)) {
			t.Errorf("url %s", url)
		}
		return url
	}
	url := link(c, 1, `my "log".txt`)
	head, err := http.NewRequestWithContext(t.Context(), http.MethodHead, base+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(head); err != nil || response.Body.Close() != nil || response.StatusCode != 405 {
		t.Errorf("HEAD: %v, %v", response, err)
	}
	got := get(t, http.DefaultClient, base+url)
	if got.status != 200 || got.text != log {
		t.Errorf("status %d, %d bytes of %d", got.status, len(got.text), len(log))
	}
	for name, want := range map[string]string{"Content-Type": "application/octet-stream", "Content-Disposition": `attachment; filename="my \"log\".txt"`} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := get(t, http.DefaultClient, base+url); got.status != 401 {
		t.Errorf("second use of the token: status %d", got.status)
	}
	for name, url := range map[string]string{
		"no token": "/_download/1", "wrong token": "/_download/1?auth_token=x", "token of another job": strings.Replace(link(c, 1, "x"), "/1?", "/17?", 1),
	} {
		if got := get(t, http.DefaultClient, base+url); got.status != 401 {
			t.Errorf("%s: status %d", name, got.status)
		}
	}
	if got := get(t, http.DefaultClient, base+link(c, 33, "x")); got.status != 410 {
		t.Errorf("log that is gone: status %d %s", got.status, got.text)
	}

	c.fails(-32001, 14, "[EFAULT] This job has no logs", "core.job_download_logs", 17, "x")
	c.fails(-32602, 22, "[ENOENT] None: Job with id 50 does not exist", "core.job_download_logs", 50, "x")
	c.fails(-32602, 22, "[EINVAL] filename: Field required\n", "core.job_download_logs", 1)
	h.login(h.userKey("bob")).fails(-32001, 1, "[EPERM] Job is not owned by current session", "core.job_download_logs", 1, "x")

	// Over the Unix socket, with a token from there, which is bound to no address.
	local := h.dial(h.socketURL())
	over := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", h.addr.Sockets[0])
	}}}
	if got := get(t, over, "http://local"+link(local, 1, "x")); got.text != log {
		t.Errorf("over the socket: status %d, %d bytes", got.status, len(got.text))
	}
	if got := get(t, http.DefaultClient, base+link(local, 1, "x")); got.text != log {
		t.Errorf("token from the socket: status %d, %d bytes", got.status, len(got.text))
	}
	if got := get(t, over, "http://local"+link(c, 1, "x")); got.status != 401 {
		t.Errorf("token of another address: status %d", got.status)
	}
	url = link(c, 1, "x")
	p.Close(0, "")
	eventually(t, "the plugin is away", func() bool { return h.plugins.named("zferry").current() == nil })
	if got := get(t, http.DefaultClient, base+url); got.status != 503 || !strings.Contains(got.text, "the plugin zferry is not connected") {
		t.Errorf("plugin away: status %d %s", got.status, got.text)
	}
}

// TestDownloadCutOff is about downloads that end before the log does.
func TestDownloadCutOff(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	base := "http" + strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "ws"), "/api/current")
	p := newPlayed(t)
	gaveUp := make(chan error, 1)
	var conn *rpc.Conn
	var err error
	conn, err = rpc.Dial(t.Context(), h.pluginURL(), rpc.DialOptions{}, rpc.Options{
		Streams: true, OddStreams: true,
		Handler: func(ctx context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
			if r.Method != "plugin.jobs.log" {
				return p.handle(ctx, c, r)
			}
			var in logRequest
			if err := json.Unmarshal(r.Params, &in); err != nil {
				return nil, err
			}
			out := c.NewOutput(in.Output)
			for {
				if _, err := out.Write(make([]byte, 4096)); err != nil {
					gaveUp <- err
					return nil, err
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(0, "")
	p.Conn = conn
	if err := p.register(with(usual(), "token", h.NewToken())); err != nil {
		t.Fatal(err)
	}
	path := "x"
	p.tell(1, "SUCCESS", "logs_path", &path)
	c := h.login(h.adminKey())
	begin := func() *http.Response {
		t.Helper()
		var url string
		eventually(t, "the log's URL", func() bool { return c.call("core.job_download_logs", &url, 1, "x") == nil })
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := response.Body.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return response
	}
	// The client goes away: the plugin need not go on.
	if err := begin().Body.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-gaveUp:
		if err == nil {
			t.Error("the plugin wrote on to its end")
		}
	case <-time.After(patience):
		t.Fatal("the plugin still writes")
	}
	// The plugin goes away: the client sees that it has not got all.
	response := begin()
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	conn.Close(0, "")
	buffer := make([]byte, 1<<20)
	for err == nil {
		_, err = response.Body.Read(buffer)
	}
	if err.Error() == "EOF" {
		t.Error("a log that was cut off ended as if it were complete")
	}
}

func TestDownloadExpires(t *testing.T) {
	var ds downloads
	old := ds.add(download{job: 1})
	ds.waiting[0].until = time.Now().Add(-time.Second)
	if _, ok := ds.take(old); ok {
		t.Error("a token is good after its time")
	}
	first := ds.add(download{job: 1})
	for range maxDownloads {
		ds.add(download{job: 2})
	}
	if _, ok := ds.take(first); ok || len(ds.waiting) != maxDownloads {
		t.Errorf("%d downloads wait, the oldest still does: %v", len(ds.waiting), ok)
	}
}
