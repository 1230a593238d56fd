package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/zferry/zferry/plugin/boundary"
)

// pluginInstance is a plugin that runs and has answered.
type pluginInstance struct {
	*boundary.Remote
	process *pluginProcess
	record  pluginRecord
	found   bool            // and not launched by this host
	health  boundary.Health // its first answer
}

// leave lets go of the plugin, whether it lives or not.
func (i *pluginInstance) leave() {
	i.Disconnect()
	i.process.leave()
	<-i.process.ended
}

// launch starts the plugin and waits until it has said where it listens and has answered once. When it returns an error
// the process has ended, or cannot be killed.
func (c *SupervisorConfig) launch(ctx context.Context) (*pluginInstance, error) {
	sockets, err := socketFolder(c.Dir, c.Log)
	if err != nil {
		return nil, fmt.Errorf("launch the plugin: %v", err)
	}
	if err := boundary.MakeCertificates(c.Dir); err != nil {
		return nil, fmt.Errorf("launch the plugin: %v", err)
	}
	// Now, and not when it is needed: nobody but this launch is to change what it accepts.
	config, err := boundary.HostTLS(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("launch the plugin: %v", err)
	}
	arguments := append(slices.Clone(c.Command[1:]), "--data-dir", c.Dir)
	cmd := exec.Command(c.Command[0], arguments...)
	cmd.Dir = "/" // it keeps no file system busy
	// It must outlive this process: what a terminal sends to its foreground is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	process := newPluginProcess(cmd, boundary.Process{})
	output := &pluginOutput{log: c.Log}

	giveUp := context.AfterFunc(ctx, process.kill)
	defer giveUp()
	address, err := c.handshake(process, output, sockets)
	if err == nil {
		var instance *pluginInstance
		if instance, err = c.connect(ctx, process, address, config); err == nil {
			return instance, nil
		}
	}
	return nil, c.launchError(ctx, process, output, err)
}

// handshake has go-plugin start the process and read its first line.
func (c *SupervisorConfig) handshake(process *pluginProcess, output *pluginOutput, sockets string) (net.Addr, error) {
	// Of the client nothing is used but the start (see boundary.Dial). It has no Kill to be called: what it holds ends
	// with the process or when that is left.
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  boundary.Handshake(),
		Plugins:          boundary.Plugins(nil),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		SkipHostEnv:      true,
		StartTimeout:     c.StartTimeout,
		Stderr:           output,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off}), // off, or it parses what the plugin says
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: sockets},
		RunnerFunc: func(_ hclog.Logger, given *exec.Cmd, extra string) (runner.Runner, error) {
			// go-plugin makes a folder for the socket that makes its path longer and goes with the client.
			_ = os.Remove(extra) // it is empty, and so is what is left if that fails
			process.cmd.Env = pluginEnvironment(given.Env, sockets)
			return process, nil
		},
	})
	return client.Start()
}

// pluginEnvironment is what go-plugin wants, what a program needs, and nothing else of the host's own environment.
func pluginEnvironment(given []string, sockets string) []string {
	environment := slices.DeleteFunc(slices.Clone(given), func(entry string) bool {
		return strings.HasPrefix(entry, goplugin.EnvUnixSocketDir+"=")
	})
	environment = append(environment, goplugin.EnvUnixSocketDir+"="+sockets)
	for _, name := range []string{"PATH", "LANG", "TZ", "HOME"} {
		if value, ok := os.LookupEnv(name); ok {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}

// connect makes the note by which the plugin is found again, once it has answered.
func (c *SupervisorConfig) connect(
	ctx context.Context, process *pluginProcess, address net.Addr, config *tls.Config,
) (*pluginInstance, error) {
	remote, health, err := c.dial(ctx, address, config)
	if err != nil {
		return nil, err
	}
	record := pluginRecord{
		Protocol: boundary.Protocol,
		Network:  address.Network(),
		Address:  address.String(),
		Process:  process.identity(),
		Version:  health.Version,
	}
	if err := c.writeRecord(record); err != nil {
		remote.Disconnect()
		return nil, err
	}
	return &pluginInstance{Remote: remote, process: process, record: record, health: health}, nil
}

// dial connects to a plugin and has it answer once.
func (c *SupervisorConfig) dial(
	ctx context.Context, address net.Addr, config *tls.Config,
) (*boundary.Remote, boundary.Health, error) {
	meeting, cancel := context.WithTimeout(ctx, c.HealthTimeout)
	defer cancel()
	remote, err := boundary.Dial(meeting, address, config)
	if err != nil {
		return nil, boundary.Health{}, err
	}
	health, err := c.askHealth(ctx, remote)
	if err != nil {
		remote.Disconnect()
		return nil, health, err
	}
	return remote, health, nil
}

func (c *SupervisorConfig) askHealth(ctx context.Context, l boundary.Lifecycle) (boundary.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, c.HealthTimeout)
	defer cancel()
	return l.Health(ctx)
}

// launchError ends what there is of the process and says what happened, with the plugin's last words.
func (c *SupervisorConfig) launchError(ctx context.Context, process *pluginProcess, output *pluginOutput, err error) error {
	pid := process.identity().PID
	process.kill()
	switch {
	case pid != 0 && !process.endedWithin(c.EndTimeout):
		process.leave()
		err = fmt.Errorf("%v; and it cannot be killed, pid %d", firstLine(err), pid)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case pid == 0:
		err = errors.New(firstLine(err)) // it was not even started
	case process.exit == nil:
		err = errors.New("it ended too early, with exit code 0")
	case !process.wasKilled():
		err = process.exit // and that it could not be reached is an echo of it
	default:
		err = errors.New(firstLine(err))
	}
	if said := output.said(); said != "" {
		return fmt.Errorf("launch the plugin: %v; its last lines:\n%s", err, said)
	}
	return fmt.Errorf("launch the plugin: %v", err)
}

// firstLine leaves out go-plugin's advice.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
