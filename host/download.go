package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/zferry/zferry/rpc"
)

const (
	downloadLasts = 300 * time.Second
	maxDownloads  = 1000 // that nobody has fetched; beyond that the oldest cannot be any more
	downloadStall = time.Minute
)

// download is a log, or what a job writes, that may be fetched once.
type download struct {
	token    digest
	job      int64
	filename string
	address  string // of the client that asked; "" if it came over a Unix socket
	until    time.Time
	pipe     *pipe // what the job writes; nil: it is the job's log
}

// downloads are those that nobody has fetched.
type downloads struct {
	mu      sync.Mutex // guards waiting
	waiting []download // oldest first
}

// add gives the token for a download.
func (ds *downloads) add(d download) string {
	token := newSecret()
	d.token = digestOf(token)
	if d.until.IsZero() {
		d.until = time.Now().Add(downloadLasts)
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.waiting = append(ds.waiting, d)
	ds.waiting = ds.waiting[max(0, len(ds.waiting)-maxDownloads):]
	return token
}

// take gives the download that the token is for, once.
func (ds *downloads) take(token string) (download, bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	want := digestOf(token)
	i := slices.IndexFunc(ds.waiting, func(d download) bool { return d.token == want })
	if i < 0 {
		return download{}, false
	}
	d := ds.waiting[i]
	ds.waiting = slices.Delete(ds.waiting, i, i+1)
	return d, time.Now().Before(d.until)
}

type downloadArgs struct {
	ID       int64  `json:"id" doc:"number of the job"`
	Filename string `json:"filename" doc:"that a browser offers to save it under"`
	Buffered bool   `json:"buffered" default:"false" doc:"makes no difference: the log is a file"`
}

func (h *Host) jobDownloadLogs(ctx context.Context, in downloadArgs) (string, error) {
	c := callOf(ctx)
	e, err := h.job(ctx, in.ID)
	if err != nil {
		return "", err
	}
	if err := readable(c.who, e); err != nil {
		return "", err
	}
	if e.LogsPath == nil {
		return "", rpc.Errorf(rpc.EFAULT, "This job has no logs")
	}
	d := download{job: in.ID, filename: in.Filename}
	if !c.session.local {
		d.address = hostPart(c.session.origin)
	}
	return fmt.Sprintf("/_download/%d?auth_token=%s", in.ID, h.downloads.add(d)), nil
}

func hostPart(address string) string {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return name
}

// serveDownload sends a log to whoever has the token for it.
func (h *Host) serveDownload(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // HEAD would use the token up
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	unit, begun := h.work.begin()
	if !begun {
		http.Error(w, "the server is going away", http.StatusServiceUnavailable)
		return
	}
	defer unit.finish()
	d, ok := h.downloads.take(r.URL.Query().Get("auth_token"))
	if !ok || strconv.FormatInt(d.job, 10) != r.PathValue("job") || d.address != "" && d.address != hostPart(r.RemoteAddr) {
		http.Error(w, "the token is wrong, was used before or has expired", http.StatusUnauthorized)
		return
	}
	if d.pipe != nil {
		unit.onEnd(d.pipe.giveUp)
		d.pipe.send(w, r, d.filename)
		return
	}
	p, ok := h.plugins.ofJob(d.job)
	if !ok {
		http.Error(w, "there is no such job", http.StatusNotFound)
		return
	}
	if _, ok := p.jobs.get(d.job); !ok {
		http.Error(w, "there is no such job", http.StatusNotFound)
		return
	}
	conn, err := p.connection()
	if err != nil {
		http.Error(w, p.whyAway(), http.StatusServiceUnavailable)
		return
	}
	l := fetchLog(r.Context(), conn, d.job)
	defer l.close()
	unit.onEnd(l.cancel)
	l.send(w, d.filename)
}

// logFetch is a log on its way from the plugin.
type logFetch struct {
	in     *rpc.Input
	cancel context.CancelFunc
	done   chan struct{} // closed when the call has ended
	err    error         // of the call, after done
}

type logRequest struct {
	ID     int64  `json:"id"`
	Output uint32 `json:"output"`
}

func fetchLog(ctx context.Context, conn *rpc.Conn, job int64) *logFetch {
	ctx, cancel := context.WithCancel(ctx)
	l := &logFetch{in: conn.NewInput(conn.NextStream()), cancel: cancel, done: make(chan struct{})}
	go func() { // close waits for it
		defer close(l.done)
		l.err = conn.Call(ctx, "plugin.jobs.log", logRequest{job, l.in.ID()}, nil, l.in)
		if l.err != nil {
			l.in.Abort("") // or reading would wait for what does not come
		}
	}()
	return l
}

func (l *logFetch) close() {
	_ = l.in.Close() // what it says to the plugin may be too late
	l.cancel()
	<-l.done
}

// send writes the log as an HTTP response. When something goes wrong in the middle of it the connection is cut, so that the
// client cannot take a part for the whole.
func (l *logFetch) send(w http.ResponseWriter, filename string) {
	buffer := make([]byte, 32<<10)
	n, err := l.read(buffer)
	if err != nil && !errors.Is(err, io.EOF) {
		l.refuse(w)
		return
	}
	sendFile(w, filename, buffer, n, err, l.read)
}

// sendFile writes a response of what was read already, which ended with err, and of all that read gives.
func sendFile(w http.ResponseWriter, filename string, buffer []byte, n int, err error, read func([]byte) (int, error)) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", "attachment; filename="+quoted(filename))
	control := http.NewResponseController(w)
	for err == nil {
		err = control.SetWriteDeadline(time.Now().Add(downloadStall))
		if err == nil {
			_, err = w.Write(buffer[:n])
		}
		if err == nil {
			n, err = read(buffer)
		}
	}
	if !errors.Is(err, io.EOF) || control.SetWriteDeadline(time.Time{}) != nil {
		panic(http.ErrAbortHandler)
	}
}

// read reads on. At the end of the stream it waits for that of the call, which says whether it was the end of the log.
func (l *logFetch) read(buffer []byte) (int, error) {
	n, err := l.in.Read(buffer)
	if errors.Is(err, io.EOF) {
		if <-l.done; l.err != nil {
			return n, l.err
		}
	}
	return n, err
}

// refuse says why there is no log, before anything of it was sent.
func (l *logFetch) refuse(w http.ResponseWriter) {
	select {
	case <-l.done:
	case <-time.After(time.Second): // the plugin has ended the stream and not yet said why
	}
	l.cancel()
	<-l.done
	if e, ok := errors.AsType[*rpc.CallError](l.err); ok && e.Errno == rpc.ENOENT {
		http.Error(w, "the log is not there any more", http.StatusGone)
		return
	}
	http.Error(w, "the log could not be read", http.StatusBadGateway)
}

// quoted is a file name as a header has it.
func quoted(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '_'
		}
		return r
	}, name)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
