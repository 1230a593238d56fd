package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/host"
)

// serveOptions are the flags of zferry serve.
type serveOptions struct {
	dir         string
	listen      string
	tls         bool
	certificate string
	key         string
	plainHTTP   bool
	sockets     []string
	zfs         string
	plugin      string
	tokenFile   string
	leavePlugin bool
	debug       bool
}

func newServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve --data-dir DIR [--listen ADDR] [--socket PATH]",
		Short: "Serve the API, and run replication tasks",
		Long: `Serves the JSON-RPC API of TrueNAS for replication on a WebSocket (path /api/current), and runs what replicates as a
process of its own, zferry-plugin, which must lie beside this program.

An address that is no loopback one is served with TLS, so that its URL begins with wss://. Without --tls-cert and --tls-key the
certificate is one that the first such start makes; the line that says where clients connect has its fingerprint.

The first start writes an API key for the administrator to DIR/` + keyName + `. At the socket root needs no login.

SIGTERM stops transfers so that the next start resumes them. SIGHUP ends this program alone: transfers go on, and the
next start finds them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.dir, "data-dir", "", "`folder` for all state (required)")
	f.StringVar(&o.listen, "listen", defaultListen, "`address` and port for clients; \"\" for none")
	f.BoolVar(&o.tls, "tls", false, "serve it with TLS, which is done anyway where it is no loopback address")
	f.StringVar(&o.certificate, "tls-cert", "", "PEM `file` with the certificate (default: one made at the first start)")
	f.StringVar(&o.key, "tls-key", "", "PEM `file` with its key")
	f.BoolVar(&o.plainHTTP, "plain-http", false, "no TLS, whatever the address: API keys and data then cross the network in the clear")
	f.StringArrayVar(&o.sockets, "socket", nil, "Unix socket for clients, a `path`; can be repeated (default: none)")
	f.StringVar(&o.zfs, "zfs", "", "`program` to use for zfs on this system (default: zfs in PATH)")
	f.StringVar(&o.plugin, "plugin", "", "`program` of the plugin (default: zferry-plugin beside this program)")
	f.StringVar(&o.tokenFile, "token-file", "", "`file` for a registration token, for plugins that somebody else starts")
	f.BoolVar(&o.leavePlugin, "leave-plugin", false, "leave the plugin running also at SIGTERM")
	f.BoolVar(&o.debug, "debug", false, "log more")
	if err := cmd.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // there is no such flag
	}
	return cmd
}

var errLoggedOff = errors.New("signal received")

func (o *serveOptions) run(cmd *cobra.Command) error {
	if err := o.check(); err != nil {
		return usageError{err}
	}
	plugin, err := o.pluginProgram()
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(cmd.Context()))
	defer cancel(nil)
	stop := o.signals(cancel)
	defer stop()

	h, err := host.New(ctx, host.Config{
		Dir: o.dir, Listen: o.listen, TLS: o.tls, TLSCert: o.certificate, TLSKey: o.key, PlainHTTP: o.plainHTTP, Sockets: o.sockets,
		TokenFile: o.tokenFile, Version: version, Log: log,
		Plugins: []host.Supervised{{Name: "zferry", Start: func(credentials func() (url, token, caPEM string)) (host.Process, error) {
			return host.NewSupervisor(host.SupervisorConfig{
				Command: append([]string{plugin}, o.pluginArguments()...), Dir: filepath.Join(o.dir, "plugin"), Version: version,
				LogLevel: level.String(), Credentials: credentials, Log: log,
			})
		}}},
		Ready: func(a host.Addresses) { fmt.Fprintln(cmd.OutOrStdout(), readyLine(a)) },
	})
	if err != nil {
		return err
	}
	return h.Run(ctx)
}

// check finds flags that contradict each other.
func (o *serveOptions) check() error {
	encrypted := o.tls || o.certificate != "" || o.key != ""
	switch {
	case o.listen == "" && len(o.sockets) == 0:
		return errors.New("nobody could connect: give --listen or --socket")
	case o.listen == "" && (encrypted || o.plainHTTP):
		return errors.New("--tls, --tls-cert, --tls-key and --plain-http are about --listen, which is empty")
	case (o.certificate == "") != (o.key == ""):
		return errors.New("--tls-cert and --tls-key belong together")
	case encrypted && o.plainHTTP:
		return errors.New("--plain-http excludes --tls, --tls-cert and --tls-key")
	}
	return nil
}

// signals ends ctx as a signal says. The one after it is not held back.
func (o *serveOptions) signals(cancel context.CancelCauseFunc) (stop func()) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	done := make(chan struct{})
	go func() { // ends with stop, or the first signal
		select {
		case <-done:
			return
		case s := <-got:
			signal.Stop(got)
			if s == syscall.SIGHUP || o.leavePlugin {
				cancel(host.ErrLeavePlugin)
			} else {
				cancel(errLoggedOff)
			}
		}
	}()
	return func() {
		signal.Stop(got)
		close(done)
	}
}

// readyLine is the one line that says where clients connect.
func readyLine(a host.Addresses) string {
	line := "ready"
	if a.Client != "" {
		line += " at " + a.Client
	}
	for _, socket := range a.Sockets {
		line += " at unix://" + socket
	}
	line += ", API key in " + a.KeyFile
	if a.Fingerprint != "" {
		line += ", certificate SHA-256 " + a.Fingerprint
	}
	return line
}

func (o *serveOptions) pluginArguments() []string {
	if o.zfs == "" {
		return nil
	}
	return []string{"--zfs", o.zfs}
}

// pluginProgram finds the plugin.
func (o *serveOptions) pluginProgram() (string, error) {
	if o.plugin != "" {
		return o.plugin, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("where is this program? %w", err)
	}
	program := filepath.Join(filepath.Dir(self), "zferry-plugin")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("the plugin is missing: %w; install it there, or give --plugin PROGRAM", err)
	}
	return program, nil
}
