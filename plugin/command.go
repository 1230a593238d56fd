package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/plugin/boundary"
)

// Main is the program zferry-plugin: launched by a host with go-plugin, or attached to one through a WebSocket alone. It
// carries out one command line and returns the exit code: 1 if the plugin failed, 2 for a wrong command line, 3 if another
// process holds the data folder.
func Main(version string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	started := false
	root := newCommand(version, &started)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "zferry-plugin:", err)
	if !started {
		return 2
	}
	return ExitCode(err)
}

// options are the flags of both ways to start.
type options struct {
	version string
	dir     string
	zfs     string

	url       string
	tokenFile string
	ca        string
}

func newCommand(version string, started *bool) *cobra.Command {
	o := options{version: version}
	root := &cobra.Command{
		Use:   "zferry-plugin --data-dir DIR",
		Short: "ZFS replication for a middleware",
		Long: `zferry-plugin gives a middleware ZFS replication. A host launches it with go-plugin ('zferry serve' does), or a
supervisor starts 'zferry-plugin attach' beside a host. docs/host-protocol.md says how to host it.`,
		Version: version, Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			err := cmd.ValidateRequiredFlags() // cobra would do it only after this
			*started = err == nil
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.launched(cmd.Context()) },
	}
	f := root.PersistentFlags()
	f.StringVar(&o.dir, "data-dir", "", "`folder` of its state (required)")
	f.StringVar(&o.zfs, "zfs", "", "`program` to use for zfs (default: zfs in PATH)")
	attach := &cobra.Command{
		Use:   "attach --url URL --token-file FILE --data-dir DIR",
		Short: "Work for a host that has not started this process",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.attached(cmd.Context()) },
	}
	a := attach.Flags()
	a.StringVar(&o.url, "url", "", "the host's WebSocket: unix:///path/to.sock, wss://name:port/plugin/v1, or ws:// on a loopback address (required)")
	a.StringVar(&o.tokenFile, "token-file", "", "`file` with the registration token, read again when the host has forgotten us (required)")
	a.StringVar(&o.ca, "ca", "", "`file` with the certificates that a wss host may show (default: the system's)")
	for _, flag := range []struct {
		cmd  *cobra.Command
		name string
	}{{attach, "url"}, {attach, "token-file"}} {
		if err := flag.cmd.MarkFlagRequired(flag.name); err != nil {
			panic(err) // there is no such flag
		}
	}
	if err := root.MarkPersistentFlagRequired("data-dir"); err != nil {
		panic(err) // likewise
	}
	root.AddCommand(attach, newManifestCommand())
	return root
}

// newManifestCommand prints what 'make manifest' keeps.
func newManifestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "manifest", Short: "Print what this plugin offers", Args: cobra.NoArgs, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := Manifest()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

// launched is the plugin under go-plugin.
func (o *options) launched(ctx context.Context) (err error) {
	handshake := boundary.Handshake()
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		return ErrNotLaunched // before anything is made
	}
	process, err := OpenProcess(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.Close()) }()
	p, err := Open(ctx, Config{Dir: o.dir, ZFS: o.zfs, Version: o.version, Log: process.LogHandler(), Level: process.Level()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() { // ends with ctx, or by itself when nobody needs the plugin any more
		defer close(done)
		p.Run(ctx)
		cancel()
	}()
	err = process.Serve(ctx, p)
	cancel()
	<-done
	return err
}

// attached is the plugin beside a host that it reaches through the WebSocket alone.
func (o *options) attached(ctx context.Context) (err error) {
	if err := checkURL(o.url); err != nil {
		return usageError{err}
	}
	ca := []byte(nil)
	if o.ca != "" {
		if ca, err = os.ReadFile(o.ca); err != nil {
			return fmt.Errorf("the host's certificates: %w", err)
		}
		if _, err := certificates(string(ca)); err != nil {
			return err
		}
	}
	process, err := OpenProcess(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.Close()) }()
	p, err := Open(ctx, Config{
		Dir: o.dir, ZFS: o.zfs, Version: o.version, Level: process.Level(),
		Log: slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: process.Level()}),
		Settings: func() (boundary.Settings, error) {
			token, err := os.ReadFile(o.tokenFile)
			return boundary.Settings{URL: o.url, Token: strings.TrimSpace(string(token)), CAPEM: string(ca)}, err
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.Run(ctx)
	return nil
}
