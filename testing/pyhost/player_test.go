package pyhost

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

type object = map[string]any

// host is a running pyhost.py for which the test plays the plugin.
type host struct {
	socket, tokenFile string
	cmd               *exec.Cmd
	out               *output
	done              chan struct{} // closed when it has ended
}

// output is what the host prints, to be read when it has ended.
type output struct {
	text  bytes.Buffer
	once  sync.Once
	ready chan struct{} // closed when there is something
}

func (o *output) Write(p []byte) (int, error) {
	o.once.Do(func() { close(o.ready) })
	return o.text.Write(p)
}

// startHost starts a host that calls test.work, and waits until it listens.
func startHost(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{
		socket: filepath.Join(dir, "s"), tokenFile: filepath.Join(dir, "token"),
		out: &output{ready: make(chan struct{})}, done: make(chan struct{}),
	}
	h.cmd = python(t, "--socket", h.socket, "--token-file", h.tokenFile, "test.work")
	h.cmd.Stdout, h.cmd.Stderr = h.out, h.out
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		defer close(h.done)
		_ = h.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		_ = h.cmd.Process.Kill() // may have ended
		<-h.done
		if t.Failed() {
			t.Logf("the host:\n%.5000s", h.out.text.String())
		}
	})
	select {
	case <-h.out.ready:
	case <-h.done:
		t.Fatal("the host ended at once")
	}
	return h
}

// ends wants that the host ends with the exit code, and returns what it has printed.
func (h *host) ends(t *testing.T, code int) string {
	t.Helper()
	<-h.done
	if got := h.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	return h.out.text.String()
}

// token reads the file that only its owner may.
func (h *host) token(t *testing.T) string {
	t.Helper()
	token, err := os.ReadFile(h.tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{h.tokenFile, h.socket} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", file, info.Mode())
		}
	}
	return string(token)
}

// refuses wants that a registration is answered with the errno, and the connection closed.
func (h *host) refuses(t *testing.T, errno float64, params object) {
	t.Helper()
	p := h.dial(t)
	p.send(t, object{"id": "r", "method": "plugin.register", "params": params})
	if got := p.failure(t, "r")["data"].(object)["error"]; got != errno {
		t.Errorf("refused with errno %v, want %v", got, errno)
	}
	p.wantClosed(t, websocket.ClosePolicyViolation)
}

// accepts wants that a registration succeeds. It returns the connection and the secret.
func (h *host) accepts(t *testing.T, params object) (*player, string) {
	t.Helper()
	p := h.dial(t)
	p.send(t, object{"id": "r", "method": "plugin.register", "params": params})
	result, ok := p.reply(t, "r")["result"].(object)
	if !ok {
		t.Fatal("registration refused")
	}
	return p, result["reconnect_secret"].(string)
}

func (h *host) dial(t *testing.T) *player {
	t.Helper()
	dialer := websocket.Dialer{
		WriteBufferSize: 4096, // what is longer goes in fragments
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", h.socket)
		},
	}
	conn, response, err := dialer.DialContext(t.Context(), "ws://host/plugin/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	t.Cleanup(func() { _ = conn.Close() }) // may be closed already
	p := &player{conn: conn}
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn.SetPongHandler(func(string) error { p.pongs++; return nil })
	return p
}

// player is a connection of the played plugin. What it reads and nobody has asked for yet is kept.
type player struct {
	conn     *websocket.Conn
	requests []object
	replies  []object
	credit   int
	pongs    int
}

func (p *player) send(t *testing.T, message object) {
	t.Helper()
	text, err := json.Marshal(with(message, "jsonrpc", "2.0"))
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, websocket.TextMessage, text)
}

func (p *player) write(t *testing.T, kind int, payload []byte) {
	t.Helper()
	w, err := p.conn.NextWriter(kind)
	if err != nil {
		t.Fatal(err)
	}
	half := len(payload) / 2
	if _, err := w.Write(payload[:half]); err != nil {
		t.Fatal(err)
	}
	if err := p.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(payload[half:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// read takes one frame.
func (p *player) read(t *testing.T) {
	t.Helper()
	kind, payload, err := p.conn.ReadMessage()
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if kind == websocket.BinaryMessage {
		if len(payload) != 9 || payload[0] != 2 {
			t.Fatalf("frame of a stream %x, want credit", payload)
		}
		p.credit += int(binary.BigEndian.Uint32(payload[5:]))
		return
	}
	var message object
	if err := json.Unmarshal(payload, &message); err != nil {
		t.Fatal(err)
	}
	if _, is := message["method"]; is {
		p.requests = append(p.requests, message)
	} else {
		p.replies = append(p.replies, message)
	}
}

// request waits for one of the host.
func (p *player) request(t *testing.T, method string) object {
	t.Helper()
	for {
		for i, r := range p.requests {
			if r["method"] == method {
				p.requests = append(p.requests[:i], p.requests[i+1:]...)
				return r
			}
		}
		p.read(t)
	}
}

// answer waits for a request and gives it the result.
func (p *player) answer(t *testing.T, method string, result any) {
	t.Helper()
	p.send(t, object{"id": p.request(t, method)["id"], "result": result})
}

// answerLog waits until the host asks for the log, and sends it as the host gives credit.
func (p *player) answerLog(t *testing.T, log []byte) {
	t.Helper()
	request := p.request(t, "plugin.jobs.log")
	number := binary.BigEndian.AppendUint32(nil, uint32(request["params"].(object)["output"].(float64)))
	for len(log) > 0 {
		for p.credit == 0 {
			p.read(t)
		}
		n := min(len(log), p.credit, 50000)
		p.write(t, websocket.BinaryMessage, append(append([]byte{1}, number...), log[:n]...))
		p.credit -= n
		log = log[n:]
	}
	p.write(t, websocket.BinaryMessage, append([]byte{3}, number...))
	p.send(t, object{"id": request["id"], "result": object{}})
}

// reply waits for one of the host.
func (p *player) reply(t *testing.T, id any) object {
	t.Helper()
	for {
		for i, r := range p.replies {
			if r["id"] == id {
				p.replies = append(p.replies[:i], p.replies[i+1:]...)
				return r
			}
		}
		p.read(t)
	}
}

func (p *player) failure(t *testing.T, id any) object {
	t.Helper()
	reply := p.reply(t, id)
	failure, ok := reply["error"].(object)
	if !ok {
		t.Fatalf("reply %v, want an error", reply)
	}
	return failure
}

// roundTrip returns when the host has taken everything that was sent before, and has refused a method that it does not have.
func (p *player) roundTrip(t *testing.T) {
	t.Helper()
	p.send(t, object{"id": "trip", "method": "plugin.register", "params": object{}})
	if got := p.failure(t, "trip")["code"]; got != -32601.0 {
		t.Errorf("error %v, want -32601", got)
	}
}

// wantClosed wants that the host closes the connection with the code.
func (p *player) wantClosed(t *testing.T, code int) {
	t.Helper()
	for {
		if _, _, err := p.conn.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, code) {
				t.Errorf("closed by %v, want code %d", err, code)
			}
			return
		}
	}
}

// cut ends the connection as the end of a process would.
func (p *player) cut(t *testing.T) {
	t.Helper()
	if err := p.conn.Close(); err != nil {
		t.Error(err)
	}
}
