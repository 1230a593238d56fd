package host

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/rpc"
)

// slowClient speaks just enough WebSocket to be one that does not read.
type slowClient struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// slow connects a client that is logged in and has subscribed to jobs and replication.query, and from then on reads only when
// it is told to.
func (h *testHost) slow() *slowClient {
	h.t.Helper()
	c := h.slowTo(h.addr.Client)
	for i, call := range []string{
		`"method":"auth.login_with_api_key","params":["` + h.adminKey() + `"]`,
		`"method":"core.subscribe","params":["replication.query"]`,
		`"method":"core.subscribe","params":["core.get_jobs"]`,
	} {
		c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,%s}`, i, call))
		if answer := c.read(); !strings.Contains(answer, `"result":`) {
			h.t.Fatalf("answer %s", answer)
		}
	}
	return c
}

// slowTo connects such a client, and does nothing more.
func (h *testHost) slowTo(url string) *slowClient {
	h.t.Helper()
	address := strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/api/current")
	conn, err := (&net.Dialer{}).DialContext(h.t.Context(), "tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil {
		h.t.Fatal(err)
	}
	return rawClient(h.t, conn)
}

// rawClient makes a WebSocket of a connection.
func rawClient(t testing.TB, conn net.Conn) *slowClient {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	c := &slowClient{Conn: conn, t: t, r: bufio.NewReader(conn)}
	_, err := fmt.Fprintf(conn, "GET /api/current HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	for line := ""; line != "\r\n"; {
		if line, err = c.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// write sends a text frame, whose mask is nothing but zeros.
func (c *slowClient) write(text string) {
	c.t.Helper()
	head := []byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}
	if _, err := c.Write(append(head, text...)); err != nil {
		c.t.Fatal(err)
	}
}

// next reads a frame.
func (c *slowClient) next() (kind byte, payload []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.r, head); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1])
	if long := map[uint64]int{126: 2, 127: 8}[size]; long > 0 {
		number := make([]byte, 8)
		if _, err := io.ReadFull(c.r, number[8-long:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(number)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(c.r, payload)
	return head[0] & 0x0f, payload, err
}

func (c *slowClient) read() string {
	c.t.Helper()
	_, payload, err := c.next()
	if err != nil {
		c.t.Fatal(err)
	}
	return string(payload)
}

// flood sends events of a megabyte in all for each count, which change nothing that could be left out.
func (p *playedPlugin) flood(count int) {
	p.t.Helper()
	for i := range count * 16 {
		p.send("plugin.event", map[string]any{
			"name": "replication.query", "msg": "changed", "id": i, "fields": map[string]any{"x": strings.Repeat("x", 65_000)},
			"audience": map[string]any{"roles": []string{"REPLICATION_TASK_READ"}, "owner": nil},
		})
	}
}

// TestSlowClient: a client that does not read for a while gets less progress, but every change of state.
func TestSlowClient(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	slow, quick := h.slow(), h.login(h.adminKey())
	quick.subscribe(jobsCollection)
	p.flood(8) // more than the kernel keeps
	p.tell(1, "RUNNING")
	p.tell(17, "RUNNING")
	const steps = 500
	for i := range steps {
		p.tell(1, "RUNNING", "progress", progress(i))
	}
	p.tell(1, "SUCCESS")
	p.tell(17, "FAILED")
	// Nobody waits for the slow one.
	for last := ""; last != "changed 17 FAILED"; {
		last = quick.jobEvent()
	}
	var got []string
	for len(got) == 0 || got[len(got)-1] != "changed 17 FAILED" {
		var frame struct {
			Params rpc.Event
		}
		if err := json.Unmarshal([]byte(slow.read()), &frame); err != nil {
			t.Fatal(err)
		}
		if e := frame.Params; e.Collection == jobsCollection {
			var job wireJob
			if err := json.Unmarshal(e.Fields, &job); err != nil {
				t.Fatal(err)
			}
			var p struct{ Percent int }
			if err := json.Unmarshal(job.Progress, &p); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%s %d %s", e.Msg, job.ID, job.State)
			if p.Percent > 0 && !job.final() {
				text += fmt.Sprint(" ", p.Percent)
			}
			got = append(got, text)
		}
	}
	want := []string{"added 1 RUNNING", "added 17 RUNNING", "changed 1 RUNNING 499", "changed 1 SUCCESS", "changed 17 FAILED"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestDeafClient: who does not read at all is cut off, by the size of what waits for it or by the time.
func TestDeafClient(t *testing.T) {
	noLeaks(t)
	sessions := func(h *testHost) int {
		h.hub.mu.RLock()
		defer h.hub.mu.RUnlock()
		return len(h.hub.sessions)
	}
	t.Run("too much waits", func(t *testing.T) {
		h := serve(t, func(c *Config) { c.limits.waiting, c.limits.write = 1<<20, time.Minute })
		p := h.plugin()
		slow := h.slow()
		quick := h.login(h.adminKey())
		quick.subscribe(jobsCollection)
		p.flood(8)
		p.tell(1, "RUNNING")
		quick.jobEvents("added 1 RUNNING")
		eventually(t, "the session is gone", func() bool { return sessions(h) == 1 })
		if !strings.Contains(h.logs.String(), "cut off a client that does not read") {
			t.Errorf("the log does not say so")
		}
		for {
			kind, payload, err := slow.next()
			if err != nil { // it may have been cut off before the end was written
				break
			}
			if kind == 8 {
				if got := fmt.Sprint(binary.BigEndian.Uint16(payload), " ", string(payload[2:])); got != "1013 Too many events were not read" {
					t.Errorf("closed with %s", got)
				}
				break
			}
		}
	})
	t.Run("nothing is taken for too long", func(t *testing.T) {
		h := serve(t, func(c *Config) { c.limits.write = 300 * time.Millisecond })
		p := h.plugin()
		h.slow()
		p.flood(8)
		eventually(t, "the session is gone", func() bool { return sessions(h) == 0 })
	})
}

// TestEvents is plugin.event: it reaches those who have subscribed and are its audience.
func TestEvents(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	admin, all, reader := h.login(h.adminKey()), h.login(h.adminKey()), h.login(h.userKey("reader", "READONLY_ADMIN"))
	owner := h.login(h.userKey("ann", "REPLICATION_TASK_READ"))
	bystander := h.login(h.adminKey())
	id := admin.subscribe("replication.query")
	if len(id) != 36 || strings.Count(id, "-") != 4 {
		t.Errorf("subscription %q is no UUID", id)
	}
	second := admin.subscribe("replication.query")
	all.subscribe("*")
	reader.subscribe("replication.query")
	owner.subscribe("replication.query")
	bystander.subscribe(jobsCollection)
	h.login(h.userKey("bob", "SNAPSHOT_READ")).fails(-32001, 13, "[EACCES] Not authorized", "core.subscribe", "replication.query")
	reader.fails(-32001, 13, "[EACCES] Not authorized", "core.subscribe", "*")

	event := func(msg string, id any, roles []string, owner any) {
		p.send("plugin.event", map[string]any{
			"name": "replication.query", "msg": msg, "id": id, "fields": map[string]any{"name": "a"},
			"audience": map[string]any{"roles": roles, "owner": owner},
		})
	}
	check := func(want string, clients ...*testClient) {
		t.Helper()
		for _, c := range clients {
			if got := string(mustJSON(c.event())); got != want {
				t.Errorf("event %s, want %s", got, want)
			}
		}
	}
	event("added", 3, []string{"REPLICATION_TASK_READ"}, nil)
	check(`{"msg":"added","collection":"replication.query","id":3,"fields":{"name":"a"}}`, admin, all, reader, owner)
	event("removed", 3, []string{"REPLICATION_TASK_WRITE"}, "ann")
	check(`{"msg":"removed","collection":"replication.query","id":3}`, admin, all, owner)
	event("changed", "x", []string{}, "nobody")
	check(`{"msg":"changed","collection":"replication.query","id":"x","fields":{"name":"a"}}`, admin, all)
	event("shouted", 4, []string{"REPLICATION_TASK_READ"}, nil)

	var result json.RawMessage
	admin.must("core.unsubscribe", &result, id)
	admin.must("core.unsubscribe", nil, "unknown")
	event("changed", 5, []string{"REPLICATION_TASK_READ"}, nil)
	check(`{"msg":"changed","collection":"replication.query","id":5,"fields":{"name":"a"}}`, admin, all, reader, owner)
	admin.must("core.unsubscribe", nil, second)
	all.must("auth.logout", nil)
	event("changed", 6, []string{"REPLICATION_TASK_READ"}, nil)
	check(`{"msg":"changed","collection":"replication.query","id":6,"fields":{"name":"a"}}`, reader, owner)
	for _, c := range []*testClient{admin, all, reader, owner, bystander} {
		c.quiet()
	}
	if string(result) != "null" {
		t.Errorf("core.unsubscribe gave %s", result)
	}
}

// TestSubscribeAnswerFirst: the frame after the call of core.subscribe is its answer, and what happens meanwhile comes after it.
func TestSubscribeAnswerFirst(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	stop, stopped := make(chan bool), make(chan bool)
	p.tell(1, "RUNNING")
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				p.tell(1, "RUNNING", "progress", progress(i))
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for range 10 {
		c := h.slow() // which checks that the answers come first
		if text := c.read(); !strings.Contains(text, "collection_update") {
			t.Errorf("frame %s", text)
		}
		_ = c.Close()
	}
	close(stop)
	<-stopped
}

func TestOutboxLimits(t *testing.T) {
	o := newOutbox(maxNoticeBytes)
	for i := range maxNotices {
		if !o.put(notice{params: []byte("x")}, 0, false) {
			t.Fatalf("no room for notice %d", i)
		}
	}
	if o.put(notice{params: []byte("x")}, 0, false) {
		t.Error("room for more than there is")
	}
	o.clear()
	large := make([]byte, maxNoticeBytes/2)
	for _, job := range []int64{1, 1, 2, 1} {
		if !o.put(notice{params: large}, job, true) {
			t.Error("no room, although progress takes the place of older progress")
		}
	}
	if o.put(notice{params: append(large, 'x')}, 2, true) {
		t.Error("room for more bytes than there is")
	}
	o.clear()
	o.hold()
	o.put(notice{params: []byte("x")}, 0, false)
	if n, ok := o.take(); ok {
		t.Errorf("took %s although it is held back", n.params)
	}
	o.release()
	if _, ok := o.take(); !ok {
		t.Error("nothing to take after release")
	}
}

// openFiles counts the descriptors of this process.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestNoFilesLeft makes and loses connections of all kinds.
func TestNoFilesLeft(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	round := func() {
		c := h.login(h.adminKey())
		c.subscribe(jobsCollection)
		local := h.dial(h.socketURL())
		local.must("core.ping", nil)
		p := newPlayed(t)
		p.join(h, with(usual(), "token", h.NewToken()))
		c.must("replication.query", nil)
		slow := h.slow()
		h.refused(with(usual(), "token", "wrong"), 13, wrongSecret)
		for _, conn := range []*rpc.Conn{c.Conn, local.Conn, p.Conn} {
			conn.Close(0, "")
		}
		_ = slow.Close()
	}
	round()
	settled := func() int {
		eventually(t, "all sessions are gone", func() bool {
			h.hub.mu.RLock()
			defer h.hub.mu.RUnlock()
			return len(h.hub.sessions) == 0
		})
		return openFiles(t)
	}
	before := settled()
	for range 10 {
		round()
	}
	eventually(t, fmt.Sprintf("no more than %d open files", before), func() bool { return settled() <= before })
}
