package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/zferry/zferry/rpc"
)

// uploadPart is a part of an upload.
type uploadPart struct {
	name string
	body io.Reader
}

func text(name, body string) uploadPart { return uploadPart{name, strings.NewReader(body)} }

// send uploads parts as they are read, none of them held as a whole.
func (h *testHost) send(client *http.Client, target, authorization string, parts ...uploadPart) fetched {
	h.t.Helper()
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() { // ends when the request has: that closes r
		for _, p := range parts {
			part, err := form.CreateFormFile(p.name, "x")
			if err == nil {
				_, err = io.Copy(part, p.body)
			}
			if err != nil {
				w.CloseWithError(err)
				return
			}
		}
		w.CloseWithError(form.Close())
	}()
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, target, r)
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Content-Type", form.FormDataContentType())
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := client.Do(request)
	if err != nil {
		return fetched{text: err.Error()}
	}
	defer client.CloseIdleConnections()
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Error(err)
	}
	return fetched{response.StatusCode, response.Header, strings.TrimSpace(string(answer))}
}

func (h *testHost) uploadURL() string {
	return "http" + strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "ws"), "/api/current") + "/_upload"
}

// takes has a method of the plugin be a job that reads with read what it is sent, and says what that gives.
func (p *playedPlugin) takes(method string, id int64, read func(first *rpc.Input, more []*rpc.Input) string) (said <-chan string) {
	heard := make(chan string, 1)
	p.set(id, "RUNNING")
	p.on(method, func(_ context.Context, f forwarded) (any, error) {
		first := p.NewInput(f.Input)
		var more []*rpc.Input
		for _, id := range f.MoreInputs {
			more = append(more, p.NewInput(id))
		}
		go func() { // ends with the streams
			heard <- read(first, more)
		}()
		return id, nil
	})
	return heard
}

// digested reads a stream to its end and says how much it was.
func digested(in *rpc.Input) string {
	sum := sha256.New()
	n, err := io.Copy(sum, in)
	if gone, ok := errors.AsType[*rpc.AbortError](err); ok {
		return "aborted: " + gone.Reason
	}
	return fmt.Sprint(n, " ", hex.EncodeToString(sum.Sum(nil)[:4]), " ", err)
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return fmt.Sprint(len(data), " ", hex.EncodeToString(sum[:4]), " <nil>")
}

const runCall = `{"method":"replication.run","params":[7]}`

// TestUpload_1_1 is POST /_upload: files go to the job through byte streams, each in its own.
func TestUpload_1_1(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	key := "Bearer " + h.adminKey()
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB, eight times what may be on its way
	said := p.takes("replication.run", 17, func(first *rpc.Input, more []*rpc.Input) string {
		texts := []string{digested(first)}
		for _, in := range more {
			texts = append(texts, digested(in))
		}
		return strings.Join(texts, "; ")
	})
	got := h.send(http.DefaultClient, h.uploadURL(), key, text("data", runCall), uploadPart{"file", bytes.NewReader(large)}, text("file", "small"), text("file", ""))
	if got.status != http.StatusOK || got.text != `{"job_id":17}` || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", got.status, got.text)
	}
	const none = "aborted: there is no such file"
	want := strings.Join([]string{sumOf(large), sumOf([]byte("small")), sumOf(nil), none, none}, "; ")
	if got := <-said; got != want {
		t.Errorf("the job has read\n%s, want\n%s", got, want)
	}
	f := p.lastCall()
	if f.Method != "replication.run" || string(f.Params) != "[7]" || f.Caller.User != "admin" || f.Caller.API != "current" || !f.Caller.LegacyJobs {
		t.Errorf("the plugin was called with %+v", f)
	}
	if _, known := h.plugins.named("zferry").jobs.get(17); !known {
		t.Error("the host has answered with a job that it does not know")
	}

	// From a Unix socket, whose user needs no login.
	over := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", h.addr.Sockets[0])
	}}}
	if got := h.send(over, "http://local/_upload", "", text("data", runCall), text("file", "x")); got.text != `{"job_id":17}` {
		t.Errorf("over the socket: %d %s", got.status, got.text)
	}
	if got := <-said; !strings.HasPrefix(got, sumOf([]byte("x"))) {
		t.Errorf("over the socket: %s", got)
	}
}

// TestUploadJobEnds is a job that does not read what it is sent, or not all of it.
func TestUploadJobEnds(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	key := "Bearer " + h.adminKey()
	large := bytes.Repeat([]byte("x"), 4<<20)
	for name, read := range map[string]func(first *rpc.Input) string{
		"wants no more": func(first *rpc.Input) string {
			_, err := io.ReadFull(first, make([]byte, 10))
			_ = first.Close()
			return fmt.Sprint(err)
		},
		"ends and reads nothing": func(first *rpc.Input) string {
			p.tell(17, "FAILED")
			return strings.TrimPrefix(digested(first), "aborted: the upload has ended")
		},
	} {
		said := p.takes("replication.run", 17, func(first *rpc.Input, more []*rpc.Input) string {
			defer func() {
				for _, in := range more {
					_ = in.Close()
				}
			}()
			return read(first)
		})
		got := h.send(http.DefaultClient, h.uploadURL(), key, text("data", runCall), uploadPart{"file", bytes.NewReader(large)})
		// A client that is still sending may find its connection closed before it reads the answer.
		if got.text != `{"job_id":17}` && got.status != 0 {
			t.Errorf("%s: %d %s", name, got.status, got.text)
		}
		<-said
	}
	p.on("replication.run", func(context.Context, forwarded) (any, error) { // it never looks at its streams
		p.tell(33, "FAILED")
		return 33, nil
	})
	if got := h.send(http.DefaultClient, h.uploadURL(), key, text("data", runCall), text("file", "x")); got.text != `{"job_id":33}` {
		t.Errorf("a job that does not look: %d %s", got.status, got.text)
	}
}

// TestUploadCutOff is a client that goes away in the middle of a file.
func TestUploadCutOff(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	said := p.takes("replication.run", 17, func(first *rpc.Input, more []*rpc.Input) string {
		for _, in := range more {
			_ = in.Close()
		}
		return digested(first)
	})
	broken := io.MultiReader(strings.NewReader("the beginning"), failing{})
	h.send(http.DefaultClient, h.uploadURL(), "Bearer "+h.adminKey(), text("data", runCall), uploadPart{"file", broken})
	if got := <-said; got != "aborted: the upload was cut off" {
		t.Errorf("the job has read %s", got)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("gone") }

// TestUploadRefused is what is not taken, and with which words.
func TestUploadRefused(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	admin, reader := "Bearer "+h.adminKey(), "Bearer "+h.userKey("reader", "REPLICATION_TASK_READ")
	p.on("replication.run", func(_ context.Context, f forwarded) (any, error) {
		if string(f.Params) == `["refuse"]` {
			return nil, rpc.Errorf(rpc.EINVAL, "replication.run neither writes nor reads a byte stream")
		}
		for _, id := range append(f.MoreInputs, f.Input) {
			_ = p.NewInput(id).Close()
		}
		p.set(17, "RUNNING")
		return 17, nil
	})
	file, call := text("file", "x"), func(body string) uploadPart { return text("data", body) }
	for _, tt := range []struct {
		name, authorization, query string
		parts                      []uploadPart
		status                     int
		text                       string
	}{
		{name: "nobody", parts: []uploadPart{call(runCall), file}, status: 401, text: "[ENOTAUTHENTICATED] Not authenticated"},
		{name: "a wrong key", authorization: "Bearer 1-x", parts: []uploadPart{call(runCall), file}, status: 401, text: "the credential is wrong, was used before or has expired"},
		{name: "another scheme", authorization: "Digest x", parts: []uploadPart{call(runCall), file}, status: 401, text: "Authorization must be Bearer with an API key, Token, or Basic"},
		{name: "two credentials", authorization: admin, query: "?auth_token=x", parts: []uploadPart{call(runCall), file}, status: 400, text: "Authorization and auth_token exclude each other"},
		{name: "no role", authorization: reader, parts: []uploadPart{call(runCall), file}, status: 403, text: "[EACCES] Not authorized"},
		{name: "no part", authorization: admin, status: 405, text: "No part found on payload"},
		{name: "the file first", authorization: admin, parts: []uploadPart{file, call(runCall)}, status: 405, text: `"data" part must be the first on payload`},
		{name: "no file", authorization: admin, parts: []uploadPart{call(runCall)}, status: 405, text: `"file" not found as second part on payload`},
		{name: "another second part", authorization: admin, parts: []uploadPart{call(runCall), text("x", "y")}, status: 405, text: `"file" not found as second part on payload`},
		{name: "no JSON", authorization: admin, parts: []uploadPart{call("x"), file}, status: 400, text: `"data" part is not what it should be: invalid character 'x' looking for beginning of value`},
		{name: "no method", authorization: admin, parts: []uploadPart{call(`{}`), file}, status: 422, text: `"data" part has no method`},
		{name: "params", authorization: admin, parts: []uploadPart{call(`{"method":"replication.run","params":{"a":1}}`), file}, status: 422, text: "`params` must be a list."},
		{name: "unknown method", authorization: admin, parts: []uploadPart{call(`{"method":"a.b"}`), file}, status: 422, text: "[ENOMETHOD] Method 'b' not found in 'a'"},
		{name: "no job", authorization: admin, parts: []uploadPart{call(`{"method":"replication.query"}`), file}, status: 422, text: "replication.query is no job, and takes no file"},
		{name: "a large call", authorization: admin, parts: []uploadPart{call(strings.Repeat(" ", 70_000)), file}, status: 413, text: `"data" part may have 65536 bytes at most`},
		{name: "refused by the plugin", authorization: admin, parts: []uploadPart{call(`{"method":"replication.run","params":["refuse"]}`), file}, status: 412, text: "[EINVAL] replication.run neither writes nor reads a byte stream"},
	} {
		got := h.send(http.DefaultClient, h.uploadURL()+tt.query, tt.authorization, tt.parts...)
		if got.status != tt.status || got.text != tt.text {
			t.Errorf("%s: %d %s; want %d %s", tt.name, got.status, got.text, tt.status, tt.text)
		}
	}
	if log := h.logs.String(); strings.Contains(log, h.adminKey()) {
		t.Error("the log has an API key")
	}
	if got := get(t, http.DefaultClient, h.uploadURL()); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got.status)
	}
	p.Close(0, "")
	eventually(t, "the plugin is away", func() bool { return h.plugins.named("zferry").current() == nil })
	if got := h.send(http.DefaultClient, h.uploadURL(), admin, call(runCall), file); got.status != 503 || !strings.Contains(got.text, "is not connected") {
		t.Errorf("without the plugin: %d %s", got.status, got.text)
	}
}

// TestUploadParts is further parts that are not taken.
func TestUploadParts(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	said := p.takes("replication.run", 17, func(first *rpc.Input, more []*rpc.Input) string {
		texts := []string{digested(first)}
		for _, in := range more {
			texts = append(texts, digested(in))
		}
		return texts[len(texts)-1]
	})
	file := func() uploadPart { return text("file", "x") }
	for _, tt := range []struct {
		parts      []uploadPart
		text, last string
	}{
		{[]uploadPart{file(), text("other", "x")}, "Unknown payload part 'other'", "aborted: the upload was refused"},
		{[]uploadPart{file(), file(), file(), file(), file(), file()}, "Too many uploaded files", sumOf([]byte("x"))},
	} {
		got := h.send(http.DefaultClient, h.uploadURL(), "Bearer "+h.adminKey(), append([]uploadPart{text("data", runCall)}, tt.parts...)...)
		if got.status != http.StatusMethodNotAllowed || got.text != tt.text {
			t.Errorf("%d %s; want %s", got.status, got.text, tt.text)
		}
		if last := <-said; last != tt.last {
			t.Errorf("%s: the job has read %s, want %s", tt.text, last, tt.last)
		}
	}
}

// TestCredentialOf is what an upload can log in with.
func TestCredentialOf(t *testing.T) {
	for header, want := range map[string]string{
		"": ` null`, "Bearer 1-a b": `auth.login_with_api_key ["1-a b"]`, "bearer x": `auth.login_with_api_key ["x"]`,
		"Token x": `auth.login_with_token ["x"]`, "Basic YW5uOmE6Yg==": `auth.login ["ann","a:b"]`, "Basic x": "401", "x": "401",
	} {
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		r.URL, _ = url.Parse("http://nas/_upload")
		method, params, no := credentialOf(r)
		encoded, _ := json.Marshal(params)
		got := method + " " + string(encoded)
		if no != nil {
			got = fmt.Sprint(no.status)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
	r := &http.Request{}
	r.URL, _ = url.Parse("http://nas/_upload?auth_token=x")
	if method, params, no := credentialOf(r); method != "auth.login_with_token" || len(params) != 1 || params[0] != "x" || no != nil {
		t.Errorf("auth_token: %s %v %v", method, params, no)
	}
}
