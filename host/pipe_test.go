package host

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// writers makes a plugin one of whose methods writes what it is given so many times, and then ends well or not.
func (h *testHost) reporting() *playedPlugin {
	h.t.Helper()
	p := newPlayed(h.t)
	p.join(h, with(registrationOf("zferry", []offeredMethod{
		{Name: "zferry.report", Roles: []string{"REPLICATION_TASK_WRITE"}, Job: true, Output: true},
		{Name: "zferry.broken", Job: true, Output: true},
		{Name: "zferry.refused", Job: true, Output: true},
		{Name: "zferry.silent", Job: true},
	}), "token", h.NewToken()))
	id := int64(1)
	write := func(good bool) func(ctx context.Context, f forwarded) (any, error) {
		return func(_ context.Context, f forwarded) (any, error) {
			id += jobStep
			job, out := id, p.NewOutput(f.Output)
			p.tell(job, "RUNNING", "method", f.Method)
			go func() { // ends with the stream
				for range 100 {
					if _, err := out.Write([]byte(strings.Repeat("report", 2000))); err != nil {
						text := err.Error()
						p.tell(job, "FAILED", "error", &text)
						return
					}
				}
				if !good {
					out.Abort("out of paper")
					p.tell(job, "FAILED")
					return
				}
				_ = out.Close()
				p.tell(job, "SUCCESS")
			}()
			return job, nil
		}
	}
	p.on("zferry.report", write(true))
	p.on("zferry.broken", write(false))
	p.on("zferry.refused", func(context.Context, forwarded) (any, error) { return nil, rpc.Errorf(rpc.EBUSY, "not now") })
	return p
}

// TestCoreDownload is core.download and GET /_download (truenas-api.md 2.6).
func TestCoreDownload_2_6(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.reporting()
	c := h.login(h.adminKey())
	base := "http" + strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "ws"), "/api/current")
	defer http.DefaultClient.CloseIdleConnections()
	start := func(args ...any) (id int64, url string) {
		t.Helper()
		c.must("core.download", &[]any{&id, &url}, args...)
		return id, url
	}
	whole := strings.Repeat("report", 200_000)
	for _, buffered := range []bool{false, true} {
		id, url := start("zferry.report", []any{1}, "re\"port", buffered)
		got := get(t, http.DefaultClient, base+url)
		if got.status != 200 || got.text != whole || got.header.Get("Content-Disposition") != `attachment; filename="re\"port"` ||
			got.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("buffered %v: status %d, %d bytes, %v", buffered, got.status, len(got.text), got.header)
		}
		eventually(t, "the end", func() bool { return c.states()[id] == stateSuccess })
		if got := get(t, http.DefaultClient, base+url); got.status != 401 {
			t.Errorf("second use of the token: status %d", got.status)
		}
	}
	// A job that is buffered ends before anybody comes, the other one waits for its reader.
	id, url := start("zferry.report", []any{}, "x", true)
	waits, _ := start("zferry.report", []any{}, "x")
	eventually(t, "the end", func() bool { return c.states()[id] == stateSuccess })
	if got := c.states()[waits]; got != stateRunning {
		t.Errorf("the job that nobody reads is %s", got)
	}
	if got := get(t, http.DefaultClient, base+url); got.text != whole {
		t.Errorf("status %d, %d bytes", got.status, len(got.text))
	}
	if _, url = start("zferry.broken", []any{}, "x", true); get(t, http.DefaultClient, base+url).status != 410 {
		t.Error("what was not written to its end was given")
	}
	// Nobody comes: the job learns of it.
	h.downloads.mu.Lock()
	for _, d := range h.downloads.waiting {
		d.pipe.expiry.Reset(0)
	}
	h.downloads.mu.Unlock()
	eventually(t, "the job is given up", func() bool { return c.states()[waits] == stateFailed })

	c.fails(-32602, 22, "[EINVAL] method: zferry.silent has no output that could be downloaded\n", "core.download", "zferry.silent", []any{}, "x")
	c.fails(-32602, 22, "[EINVAL] method: core.ping has no output that could be downloaded\n", "core.download", "core.ping", []any{}, "x")
	c.fails(-32001, 201, "[ENOMETHOD] Method 'no.such' not found", "core.download", "no.such", []any{}, "x")
	c.fails(-32001, 16, "[EBUSY] not now", "core.download", "zferry.refused", []any{}, "x")
	c.fails(-32602, 22, "[EINVAL] filename: Field required\n", "core.download", "zferry.report", []any{})
	h.login(h.userKey("ann", "REPLICATION_TASK_READ")).fails(-32001, 1, "[EPERM] Not authorized", "core.download", "zferry.report", []any{}, "x")

	_, url = start("zferry.report", []any{}, "x")
	p.Close(0, "")
	eventually(t, "the plugin is away", func() bool { return h.plugins.named("zferry").current() == nil })
	if got := get(t, http.DefaultClient, base+url); got.status == 200 && got.text == whole {
		t.Error("a download went on without the plugin")
	}
	c.fails(-32001, 11, "[EAGAIN] the plugin zferry is not connected", "core.download", "zferry.report", []any{}, "x")
}

// TestCoreDownloadTimes: how long after its call a download may begin (truenas-api.md 2.6).
func TestCoreDownloadTimes_2_6(t *testing.T) {
	if lasting(false) != 60*time.Second || lasting(true) != 3600*time.Second || downloadLasts != 300*time.Second {
		t.Errorf("unbuffered %v, buffered %v, logs %v", lasting(false), lasting(true), downloadLasts)
	}
}
