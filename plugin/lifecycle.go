package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/zferry/zferry/plugin/boundary"
)

// launched is the lifecycle of a process that go-plugin has launched: before anything else Configure turns away from the
// host's pipes.
type launched struct {
	boundary.Lifecycle
	process    *Process
	configured func()
}

func (l *launched) Configure(ctx context.Context, s boundary.Settings) error {
	var level slog.Level
	if s.LogLevel != "" {
		if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
			return fmt.Errorf("log level: %v", err)
		}
	}
	if err := l.process.takeOutput(); err != nil {
		return fmt.Errorf("open the log: %v", err)
	}
	if s.LogLevel != "" {
		l.process.level.Set(level)
	}
	l.configured()
	return l.Lifecycle.Configure(ctx, s)
}

// stopper stops the gRPC server that go-plugin makes: go-plugin itself heeds no context.
type stopper struct {
	mu      sync.Mutex // guards the fields below
	server  *grpc.Server
	stopped bool
}

func (s *stopper) make(options []grpc.ServerOption) *grpc.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = goplugin.DefaultGRPCServer(options)
	if s.stopped {
		s.server.Stop()
	}
	return s.server
}

func (s *stopper) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.server != nil {
		s.server.Stop()
	}
}

func (s *stopper) made() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server != nil
}
