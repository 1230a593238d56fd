package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zferry/zferry/rpc"
)

// pluginPath is the path of the WebSocket for plugins.
const pluginPath = "/plugin/v1"

// clientHandler serves what clients use.
func (h *Host) clientHandler() http.Handler {
	mux := http.NewServeMux()
	for _, v := range append(versions(), "v24.10") {
		mux.HandleFunc("GET /api/"+v, h.serveSession(v))
	}
	mux.HandleFunc("GET /api/v25.10.3", h.serveSession("v25.10.2"))
	mux.HandleFunc("GET /api/v25.10.4", h.serveSession("v25.10.2"))
	mux.HandleFunc("GET /api/current", h.serveSession("current"))
	mux.HandleFunc("GET /websocket", h.serveLegacy)
	mux.HandleFunc("GET /api/versions", h.serveVersions)
	mux.HandleFunc("GET /api/boot_id", h.serveBootID)
	mux.HandleFunc("GET /_download/{job}", h.serveDownload)
	mux.HandleFunc("POST /_upload", h.serveUpload)
	mux.HandleFunc("POST /_upload/", h.serveUpload)
	return mux
}

// serveConn makes a WebSocket of a request and stays with it to its end.
func (h *Host) serveConn(w http.ResponseWriter, r *http.Request, o rpc.Options, run func(ctx context.Context, conn *rpc.Conn)) {
	unit, ok := h.work.begin()
	if !ok {
		http.Error(w, "the server is going away", http.StatusServiceUnavailable)
		return
	}
	defer unit.finish()
	conn, err := rpc.Accept(w, r, o)
	if err != nil {
		h.log.Debug("no WebSocket", "peer", r.RemoteAddr, "err", err)
		return
	}
	defer conn.Close(0, "")
	unit.onEnd(func() { conn.Hangup(closeGoingAway, "The server is going away") })
	run(r.Context(), conn)
}

// server is a listener with what serves it.
type server struct {
	*http.Server
	listener net.Listener
}

func newServer(listener net.Listener, handler http.Handler, log *slog.Logger) server {
	return server{listener: listener, Server: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnContext:       withConn,
	}}
}

// listen opens the listeners. After an error none is open.
func (h *Host) listen(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			h.closeListeners(ctx)
		}
	}()
	plugins := http.NewServeMux()
	plugins.Handle(pluginPath, h.PluginHandler())
	if err := h.listenUnix(ctx, h.pluginSocket(), 0o600, plugins); err != nil {
		return err
	}
	h.addresses.Plugin = "unix://" + h.pluginSocket()
	clients := h.clientHandler()
	for _, socket := range h.config.Sockets {
		if err := h.listenUnix(ctx, socket, 0o666, clients); err != nil {
			return err
		}
		h.addresses.Sockets = append(h.addresses.Sockets, socket)
	}
	if h.config.Listen == "" {
		return nil
	}
	return h.listenTCP(ctx, clients)
}

func (h *Host) listenTCP(ctx context.Context, handler http.Handler) error {
	encrypted, err := h.config.wantsTLS()
	if err != nil {
		return err
	}
	var certs *certificates
	if encrypted {
		if certs, err = openCertificates(&h.config); err != nil {
			return err
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", h.config.Listen)
	if err != nil {
		return err
	}
	scheme := "ws://"
	if encrypted {
		scheme, h.addresses.Fingerprint = "wss://", fingerprint(certs.loaded)
		l = tlsListener{l, certs.config()}
	}
	h.servers = append(h.servers, newServer(l, handler, h.log))
	h.addresses.Client = scheme + l.Addr().String() + "/api/current"
	return nil
}

func (h *Host) listenUnix(ctx context.Context, path string, mode fs.FileMode, handler http.Handler) error {
	if err := removeStale(ctx, path); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		if len(path) > 107 {
			return fmt.Errorf("listen on %s: the path of a socket may have 107 bytes, this one has %d", path, len(path))
		}
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return errors.Join(err, l.Close())
	}
	h.servers = append(h.servers, newServer(l, handler, h.log))
	return nil
}

// removeStale removes a socket that nobody listens on: a host that was killed left it.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("listen on %s: there is something that is no socket", path)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen on %s: somebody listens there already", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen on %s: %v", path, err)
	}
	return os.Remove(path)
}

// withConn notes what a session has to know about the connection that its requests come over.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if encrypted, ok := conn.(*tls.Conn); ok {
		return withShown(ctx, encrypted)
	}
	return withPeer(ctx, conn)
}

type peerKey struct{}

// withPeer notes who is at the other end of a Unix socket. The kernel tells whose process it was when it connected.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return ctx
	}
	uid := -1
	err = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(peer.Uid)
		}
	})
	if err != nil {
		uid = -1
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// peerOf is the user at the other end of a Unix socket, -1 if nobody knows. ok is false for other connections.
func peerOf(ctx context.Context) (uid int, ok bool) {
	uid, ok = ctx.Value(peerKey{}).(int)
	return uid, ok
}
