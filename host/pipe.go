package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/zferry/zferry/rpc"
)

// How long after its call a download may begin.
const (
	unbufferedLasts = time.Minute
	bufferedLasts   = time.Hour
)

type coreDownloadArgs struct {
	Method   string            `json:"method" doc:"whose jobs write something"`
	Args     []json.RawMessage `json:"args" doc:"its arguments"`
	Filename string            `json:"filename" doc:"that a browser offers to save it under"`
	Buffered bool              `json:"buffered" default:"false" doc:"keep what the job writes for an hour; otherwise the job waits for its reader, who must come within a minute"`
}

// pipe is what a job writes on its way to a client.
type pipe struct {
	in      *rpc.Input
	claimed atomic.Bool
	expiry  *time.Timer

	// Of a buffered one: a file without a name, and when all is in it. fault may be read then.
	file   *os.File
	filled chan struct{}
	fault  error
}

// download starts a job whose output is to be fetched with a URL.
func (h *Host) download(ctx context.Context, in coreDownloadArgs) ([]any, error) {
	c := callOf(ctx)
	if err := c.session.mayCall(in.Method); err != nil {
		return nil, err
	}
	route, ok := h.plugins.route(in.Method)
	if !ok || !route.Output || !route.Job {
		return nil, rpc.ArgErrors{{Attribute: "method", Message: in.Method + " has no output that could be downloaded"}}
	}
	conn, err := route.plugin.connection()
	if err != nil {
		return nil, err
	}
	p := &pipe{in: conn.NewInput(conn.NextStream())}
	args := in.Args
	if args == nil {
		args = []json.RawMessage{}
	}
	call := c.session.forwarded(c.who, in.Method, mustJSON(args), c.id)
	call.Output = p.in.ID()
	var id int64
	if err := conn.Call(ctx, "plugin.call", call, &id, p.in); err != nil {
		p.in.Abort("")
		if errors.Is(err, rpc.ErrClosed) {
			return nil, route.plugin.away()
		}
		return nil, err
	}
	if err := h.keepPipe(ctx, p, in.Buffered); err != nil {
		p.in.Abort("the server cannot keep it")
		return nil, err
	}
	d := download{job: id, filename: in.Filename, pipe: p, until: time.Now().Add(lasting(in.Buffered))}
	if !c.session.local {
		d.address = hostPart(c.session.origin)
	}
	c.session.known(ctx, route.plugin, id)
	return []any{id, fmt.Sprintf("/_download/%d?auth_token=%s", id, h.downloads.add(d))}, nil
}

func lasting(buffered bool) time.Duration {
	if buffered {
		return bufferedLasts
	}
	return unbufferedLasts
}

// keepPipe gives the pipe up when nobody has come in time, and if it is to be buffered fills the buffer.
func (h *Host) keepPipe(ctx context.Context, p *pipe, buffered bool) error {
	p.expiry = time.AfterFunc(lasting(buffered), func() {
		if p.claimed.CompareAndSwap(false, true) {
			p.giveUp()
		}
	})
	if !buffered {
		return nil
	}
	file, err := os.CreateTemp(h.config.Dir, "download-*") // its mode is 0600
	if err != nil {
		p.expiry.Stop()
		return err
	}
	if err := os.Remove(file.Name()); err != nil {
		p.expiry.Stop()
		return errors.Join(err, file.Close())
	}
	p.file, p.filled = file, make(chan struct{})
	h.work.start(ctx, func(ctx context.Context) {
		defer close(p.filled)
		defer context.AfterFunc(ctx, func() { p.in.Abort("the server ends") })()
		_, p.fault = io.Copy(file, p.in)
		if p.fault != nil {
			p.in.Abort("the server cannot keep it")
		}
	})
	return nil
}

// giveUp tells the job that nobody wants any more.
func (p *pipe) giveUp() {
	p.expiry.Stop()
	p.in.Abort("it is not fetched")
	if p.file != nil {
		_ = p.file.Close() // there is nothing in it that anybody needs
	}
}

// send answers with what the job writes, to its end. When something goes wrong in the middle of it the connection is cut, so
// that the client cannot take a part for the whole.
func (p *pipe) send(w http.ResponseWriter, r *http.Request, filename string) {
	if !p.claimed.CompareAndSwap(false, true) {
		http.Error(w, "it was not fetched in time", http.StatusGone)
		return
	}
	defer p.giveUp() // which does nothing after the end
	defer context.AfterFunc(r.Context(), func() { p.in.Abort("the client has gone") })()
	var from io.Reader = p.in
	if p.file != nil {
		select {
		case <-p.filled:
		case <-r.Context().Done():
			return
		}
		_, err := p.file.Seek(0, io.SeekStart)
		if err := errors.Join(p.fault, err); err != nil {
			http.Error(w, "the job has not written all of it", http.StatusGone)
			return
		}
		from = p.file
	}
	buffer := make([]byte, 32<<10)
	n, err := from.Read(buffer)
	if err != nil && !errors.Is(err, io.EOF) {
		http.Error(w, "the job has not written it", http.StatusGone)
		return
	}
	sendFile(w, filename, buffer, n, err, from.Read)
}
