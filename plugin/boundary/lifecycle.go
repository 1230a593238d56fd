package boundary

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// Lifecycle is the life of a plugin as its host directs it. Calls may come at the same time.
type Lifecycle interface {
	// Configure names the host's WebSocket. It may come again, with another one.
	Configure(ctx context.Context, s Settings) error
	Health(ctx context.Context) (Health, error)
	// Drain refuses new jobs from now on, ends those that run, and returns when all have ended, or after the given
	// time, with the ids of those that were cut short.
	Drain(ctx context.Context, within time.Duration) (interrupted []int64, err error)
}

// Settings are what Configure hands over. They hide the token when they are printed or logged.
type Settings struct {
	URL      string // of the host's WebSocket
	Token    string // good for one registration
	CAPEM    string // the certificates that a wss host may show; empty is those of the system
	LogLevel string // DEBUG, INFO, WARN or ERROR; empty is as it was
}

// String leaves the token out.
func (s Settings) String() string { return fmt.Sprintf("{URL:%s LogLevel:%s}", s.URL, s.LogLevel) }

// GoString leaves the token out.
func (s Settings) GoString() string { return "boundary.Settings" + s.String() }

// LogValue leaves the token out.
func (s Settings) LogValue() slog.Value {
	return slog.GroupValue(slog.String("url", s.URL), slog.String("log_level", s.LogLevel))
}

// Health is how a plugin feels.
type Health struct {
	Status      string // "ok", or "degraded": new runs are refused
	Message     string // why it is degraded
	JobsRunning int
	Draining    bool
	Version     string // of the plugin's program
}

const pluginName = "lifecycle"

// Plugins is what a plugin gives to go-plugin's Serve and, with nil, a host to its Client.
func Plugins(l Lifecycle) goplugin.PluginSet {
	return goplugin.PluginSet{pluginName: &adapter{lifecycle: l}}
}

// adapter puts Lifecycle on go-plugin's gRPC.
type adapter struct {
	goplugin.NetRPCUnsupportedPlugin
	lifecycle Lifecycle
}

func (a *adapter) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	RegisterLifecycleServer(s, &server{lifecycle: a.lifecycle})
	return nil
}

func (a *adapter) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &Remote{conn: conn, client: NewLifecycleClient(conn)}, nil
}

// Remote is the Lifecycle of a plugin in another process.
type Remote struct {
	conn   *grpc.ClientConn
	client LifecycleClient
}

// Dial connects to the plugin that listens at the address. go-plugin's own Client is not used for this, because it heeds
// no context, keeps what it has opened when it gives up, and closes nothing without ending the plugin too.
func Dial(ctx context.Context, address net.Addr, config *tls.Config) (*Remote, error) {
	if err := meet(ctx, address, config); err != nil {
		return nil, fmt.Errorf("connect to the plugin: %v", err)
	}
	retry := backoff.DefaultConfig
	retry.MaxDelay = time.Second
	conn, err := grpc.NewClient("passthrough:///plugin",
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, address.Network(), address.String())
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to the plugin: %v", err)
	}
	return &Remote{conn: conn, client: NewLifecycleClient(conn)}, nil
}

// meet connects once by hand and waits for the first byte of the plugin's gRPC. Not before that is it known that the
// plugin has accepted the host's certificate; and of a refusal gRPC often tells no more than that the pipe is broken.
func meet(ctx context.Context, address net.Addr, config *tls.Config) error {
	config = config.Clone()
	config.NextProtos = []string{"h2"} // gRPC's server insists
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(ctx, address.Network(), address.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() {
		// Interrupts the read. It fails only if the connection is closed.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// Disconnect ends the connection and leaves the plugin alone.
func (r *Remote) Disconnect() {
	// The only error is that it was closed before.
	_ = r.conn.Close()
}

// Configure implements Lifecycle.
func (r *Remote) Configure(ctx context.Context, s Settings) error {
	_, err := r.client.Configure(ctx, &ConfigureRequest{Url: s.URL, Token: s.Token, CaPem: s.CAPEM, LogLevel: s.LogLevel})
	if err != nil {
		return fmt.Errorf("configure the plugin: %s", status.Convert(err).Message())
	}
	return nil
}

// Health implements Lifecycle.
func (r *Remote) Health(ctx context.Context) (Health, error) {
	reply, err := r.client.Health(ctx, &HealthRequest{})
	if err != nil {
		return Health{}, fmt.Errorf("ask the plugin for its health: %s", status.Convert(err).Message())
	}
	return Health{
		Status:      reply.GetStatus(),
		Message:     reply.GetMessage(),
		JobsRunning: int(reply.GetJobsRunning()),
		Draining:    reply.GetDraining(),
		Version:     reply.GetVersion(),
	}, nil
}

// Drain implements Lifecycle.
func (r *Remote) Drain(ctx context.Context, within time.Duration) ([]int64, error) {
	reply, err := r.client.Drain(ctx, &DrainRequest{Seconds: int64((within + time.Second - 1) / time.Second)})
	if err != nil {
		return nil, fmt.Errorf("drain the plugin: %s", status.Convert(err).Message())
	}
	return reply.GetInterrupted(), nil
}

// server is the plugin's end.
type server struct {
	UnimplementedLifecycleServer
	lifecycle Lifecycle
}

func (s *server) Configure(ctx context.Context, r *ConfigureRequest) (*ConfigureReply, error) {
	settings := Settings{URL: r.GetUrl(), Token: r.GetToken(), CAPEM: r.GetCaPem(), LogLevel: r.GetLogLevel()}
	if err := s.lifecycle.Configure(ctx, settings); err != nil {
		return nil, err
	}
	return &ConfigureReply{}, nil
}

func (s *server) Health(ctx context.Context, _ *HealthRequest) (*HealthReply, error) {
	h, err := s.lifecycle.Health(ctx)
	if err != nil {
		return nil, err
	}
	return &HealthReply{
		Status:      h.Status,
		Message:     h.Message,
		JobsRunning: int64(h.JobsRunning),
		Draining:    h.Draining,
		Version:     h.Version,
	}, nil
}

func (s *server) Drain(ctx context.Context, r *DrainRequest) (*DrainReply, error) {
	interrupted, err := s.lifecycle.Drain(ctx, time.Duration(r.GetSeconds())*time.Second)
	if err != nil {
		return nil, err
	}
	return &DrainReply{Interrupted: interrupted}, nil
}
