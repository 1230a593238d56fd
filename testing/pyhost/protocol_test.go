package pyhost

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestRegistration plays a plugin that is unlucky, or up to something, and holds the host to the page's plugin.register.
func TestRegistration(t *testing.T) {
	h := startHost(t)

	p := h.dial(t)
	p.send(t, object{"method": "plugin.log", "params": object{}})
	p.wantClosed(t, websocket.ClosePolicyViolation)
	h.refuses(t, 13, registration("token", strings.Repeat("guessed", 6)))
	h.refuses(t, 93, with(registration("token", h.token(t)), "protocol", 2))
	h.refuses(t, 22, with(registration("token", h.token(t)), "methods", nil))

	// A refusal has not used the token up. A registration has, and leaves a new one.
	used := h.token(t)
	p, first := h.accepts(t, registration("token", used))
	p.answer(t, "plugin.call", 1)
	h.refuses(t, 13, registration("token", used))
	h.refuses(t, 17, with(registration("token", h.token(t)), "pid", 2))

	// A reply may get lost: the secret before is taken until the host has heard something.
	p, lost := h.accepts(t, registration("secret", first))
	p.cut(t)
	p, second := h.accepts(t, registration("secret", first))
	h.refuses(t, 13, registration("secret", lost))
	p.roundTrip(t)
	h.refuses(t, 13, registration("secret", first))

	older := p
	last := h.token(t)
	p, third := h.accepts(t, registration("secret", second))
	older.wantClosed(t, websocket.CloseAbnormalClosure)

	// What is older than what the host knows is passed over, and so is what it does not know.
	p.send(t, object{"method": "plugin.unheard_of", "params": object{"new": true}})
	p.send(t, object{"method": "plugin.job", "params": object{"job": job(2, "RUNNING")}})
	p.answer(t, "plugin.jobs.list", object{"jobs": []any{object{"job": job(1, "FAILED")}}})
	p.roundTrip(t)
	p.send(t, object{"method": "plugin.job", "params": object{"job": job(4, "SUCCESS")}})
	p.answerLog(t, nil)
	p.answer(t, "plugin.drain", object{"interrupted": []int{}})
	p.cut(t)

	out := h.ends(t, 0)
	wantLines(t, out, out, `job 1: RUNNING`, `job 1: SUCCESS`, `result: null`)
	for _, secret := range []string{used, first, lost, second, third, last} {
		if strings.Contains(out, secret) {
			t.Error("the host prints a secret")
		}
	}
}

// TestFrames sends the host what the page allows and forbids in a WebSocket and in byte streams.
func TestFrames(t *testing.T) {
	h := startHost(t)
	p, secret := h.accepts(t, registration("token", h.token(t)))
	p.answer(t, "plugin.call", 1)
	p.answer(t, "plugin.jobs.list", object{"jobs": []any{}})

	// A long message goes in fragments of the size of the writer's buffer, with a ping between them.
	p.send(t, object{"method": "plugin.job", "params": object{"job": with(job(2, "RUNNING"), "description", strings.Repeat("ä", 80000))}})
	p.roundTrip(t)
	if p.pongs == 0 {
		t.Error("a ping has no answer")
	}

	for text, want := range map[string]float64{`[]`: -32600, `{`: -32700} {
		p.write(t, websocket.TextMessage, []byte(text))
		if got := p.failure(t, nil)["code"]; got != want {
			t.Errorf("%s is answered with error %v, want %v", text, got, want)
		}
	}

	for frame, code := range map[string]int{
		"\x01\x00\x00":                            websocket.CloseProtocolError,
		"\x01\x00\x00\x00\x02not opened":          websocket.CloseProtocolError,
		"\x01\x00\x00\x00\x01not opened, and odd": websocket.CloseProtocolError,
		strings.Repeat("x", 65536+6):              websocket.CloseMessageTooBig,
	} {
		p.write(t, websocket.BinaryMessage, []byte(frame))
		p.wantClosed(t, code)
		p, secret = h.accepts(t, registration("secret", secret))
	}

	// A log that is longer than the credit at first.
	const line, lines = "0123456789abcde\n", 65536
	p.send(t, object{"method": "plugin.job", "params": object{"job": job(4, "SUCCESS")}})
	p.answerLog(t, bytes.Repeat([]byte(line), lines))
	p.answer(t, "plugin.drain", object{"interrupted": []int{}})
	p.cut(t)
	if got := strings.Count(h.ends(t, 0), line); got != lines {
		t.Errorf("the log has %d lines, want %d", got, lines)
	}
}

// TestLostCall wants that a host whose connection is lost during a call says that its outcome is unknown.
func TestLostCall(t *testing.T) {
	h := startHost(t)
	p, secret := h.accepts(t, registration("token", h.token(t)))
	p.request(t, "plugin.call")
	p.cut(t)
	p, _ = h.accepts(t, registration("secret", secret))
	p.answer(t, "plugin.drain", object{"interrupted": []int{}})
	out := h.ends(t, 1)
	wantLines(t, out, out, `error: \[ECONNRESET\] outcome unknown`)
}

// TestNoLog lets a stream end otherwise than it should.
func TestNoLog(t *testing.T) {
	for name, abort := range map[string]string{"an error alone": "", "abort first": "\x04\x00\x00\x00\x02disk is gone"} {
		t.Run(name, func(t *testing.T) {
			h := startHost(t)
			p, _ := h.accepts(t, registration("token", h.token(t)))
			p.send(t, object{"method": "plugin.job", "params": object{"job": job(4, "SUCCESS")}})
			p.answer(t, "plugin.call", 1)
			request := p.request(t, "plugin.jobs.log")
			if abort != "" {
				p.write(t, websocket.BinaryMessage, []byte(abort))
			}
			p.send(t, object{"id": request["id"], "error": object{
				"code": -32001, "message": "Method call error", "data": object{"error": 2, "reason": "[ENOENT] This job has no logs"},
			}})
			p.answer(t, "plugin.drain", object{"interrupted": []int{}})
			out := h.ends(t, 1)
			wantLines(t, out, out, `error: \[ENOENT\] This job has no logs`)
		})
	}
}

// registration is one by a token or a secret, in order but for what a test changes.
func registration(by, value string) object {
	return object{
		by: value, "protocol": 1, "name": "player", "version": "1", "pid": 1, "started": "1093217", "events": []any{}, "jobs": object{"last": 0},
		"methods": []any{object{"name": "test.work", "description": "", "roles": []string{}, "job": true, "logs": true, "abortable": true}},
	}
}

// job is a state of the one job.
func job(rev int, state string) object {
	return object{
		"id": 1, "rev": rev, "state": state, "method": "test.work", "result": nil, "error": nil,
		"progress": object{"percent": 0, "description": "", "extra": nil},
	}
}

func with(o object, name string, value any) object {
	o = maps.Clone(o)
	o[name] = value
	return o
}
