package boundary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// scripted answers with what it is given, and keeps what it was given.
type scripted struct {
	health      Health
	interrupted []int64
	err         error

	settings Settings
	within   time.Duration
}

func (s *scripted) Configure(_ context.Context, settings Settings) error {
	s.settings = settings
	return s.err
}

func (s *scripted) Health(context.Context) (Health, error) { return s.health, s.err }

func (s *scripted) Drain(_ context.Context, within time.Duration) ([]int64, error) {
	s.within = within
	return s.interrupted, s.err
}

// serve serves a lifecycle as go-plugin does, and dials it.
func serve(t *testing.T, l Lifecycle) *Remote {
	t.Helper()
	dir := t.TempDir()
	if err := MakeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(mustTLS(t, PluginTLS, dir))))
	for _, p := range Plugins(l) {
		if err := p.(goplugin.GRPCPlugin).GRPCServer(nil, server); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	remote, err := Dial(t.Context(), listener.Addr(), mustTLS(t, HostTLS, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remote.Disconnect)
	return remote
}

func TestLifecycleOverGRPC(t *testing.T) {
	far := &scripted{
		health:      Health{Status: "degraded", Message: "disk full", JobsRunning: 3, Draining: true, Version: "0.1.0"},
		interrupted: []int64{97, 113},
	}
	near := serve(t, far)

	settings := Settings{URL: "wss://nas/plugin/v1", Token: "t", CAPEM: "c", LogLevel: "DEBUG"}
	if err := near.Configure(t.Context(), settings); err != nil || far.settings != settings {
		t.Errorf("configure: %v, arrived: %q", err, far.settings)
	}
	health, err := near.Health(t.Context())
	if diff := cmp.Diff(far.health, health); err != nil || diff != "" {
		t.Errorf("health: %v (-want +got):\n%s", err, diff)
	}
	interrupted, err := near.Drain(t.Context(), 1500*time.Millisecond)
	if diff := cmp.Diff(far.interrupted, interrupted); err != nil || diff != "" || far.within != 2*time.Second {
		t.Errorf("drain within %v: %v (-want +got):\n%s", far.within, err, diff)
	}
}

func TestLifecycleErrors(t *testing.T) {
	near := serve(t, &scripted{err: errors.New("disk full")})
	_, health := near.Health(t.Context())
	_, drain := near.Drain(t.Context(), time.Second)
	for want, err := range map[string]error{
		"configure the plugin: disk full":          near.Configure(t.Context(), Settings{}),
		"ask the plugin for its health: disk full": health,
		"drain the plugin: disk full":              drain,
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestSettingsHideTheToken prints settings in all the ways they might be.
func TestSettingsHideTheToken(t *testing.T) {
	s := Settings{URL: "unix:///run/x", Token: "SECRET", CAPEM: "SECRET", LogLevel: "INFO"}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("settings", "settings", s, "pointer", &s)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("settings", "settings", s)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", s, &s, s, s), log.String()} {
		if strings.Contains(text, "SECRET") || !strings.Contains(text, "unix:///run/x") {
			t.Errorf("printed as %s", text)
		}
	}
}
