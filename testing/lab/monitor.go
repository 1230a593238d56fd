package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

// monitor speaks QMP with one virtual machine.
type monitor struct {
	mu   sync.Mutex // one command at a time
	conn net.Conn
	in   *bufio.Reader
}

// dialMonitor waits until the socket in dir answers. QEMU takes one client at a time.
func dialMonitor(ctx context.Context, dir, socket string) (*monitor, error) {
	for {
		conn, err := dialUnix(ctx, dir, socket)
		if err == nil {
			m := &monitor{conn: conn, in: bufio.NewReader(conn)}
			if err := m.greet(ctx); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return m, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("reach the monitor: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (m *monitor) greet(ctx context.Context) error {
	stop := m.interruptible(ctx)
	defer stop()
	if _, err := m.in.ReadBytes('\n'); err != nil {
		return fmt.Errorf("greeting of the monitor: %w", err)
	}
	_, err := m.execute(ctx, "qmp_capabilities", nil)
	return err
}

// interruptible makes reads and writes fail as soon as ctx ends.
func (m *monitor) interruptible(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { m.conn.SetDeadline(time.Now()) }) //nolint:errcheck // a closed socket fails by itself
}

// execute runs one QMP command. After an interruption the monitor cannot be used again.
func (m *monitor) execute(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop := m.interruptible(ctx)
	defer stop()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if _, err := m.conn.Write(append(line, '\n')); err != nil {
		return nil, m.broken(ctx, command, err)
	}
	for {
		line, err := m.in.ReadBytes('\n')
		if err != nil {
			return nil, m.broken(ctx, command, err)
		}
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return nil, fmt.Errorf("monitor %s: %w", command, err)
		}
		switch {
		case reply.Error != nil:
			return nil, fmt.Errorf("monitor %s: %s", command, reply.Error.Desc)
		case reply.Return != nil:
			return reply.Return, nil
		}
		// Anything else is an event, which nobody here waits for.
	}
}

func (m *monitor) broken(ctx context.Context, command string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("monitor %s: the machine has ended: %w", command, err)
}

// human runs a command of the human monitor, which reports errors as text.
func (m *monitor) human(ctx context.Context, line string) (string, error) {
	reply, err := m.execute(ctx, "human-monitor-command", map[string]any{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(reply, &text); err != nil {
		return "", fmt.Errorf("monitor %s: %w", line, err)
	}
	return strings.ReplaceAll(text, "\r", ""), nil
}

// state runs savevm or loadvm, which are silent unless something is wrong.
func (m *monitor) state(ctx context.Context, command, tag string) error {
	text, err := m.human(ctx, command+" "+tag)
	if err != nil {
		return err
	}
	if text = strings.TrimSpace(text); text != "" {
		return errors.New(strings.TrimPrefix(text, "Error: "))
	}
	return nil
}

func (m *monitor) setLink(ctx context.Context, device string, up bool) error {
	_, err := m.execute(ctx, "set_link", map[string]any{"name": device, "up": up})
	return err
}

func (m *monitor) command(ctx context.Context, name string) error {
	_, err := m.execute(ctx, name, nil)
	return err
}

// forwardPort asks which port of this machine leads to port 22 of the virtual one.
func (m *monitor) forwardPort(ctx context.Context) (string, error) {
	text, err := m.human(ctx, "info usernet")
	if err != nil {
		return "", err
	}
	return parseForward(text)
}

var forwardLine = regexp.MustCompile(`(?m)TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+22\s`)

func parseForward(text string) (string, error) {
	found := forwardLine.FindStringSubmatch(text)
	if found == nil {
		return "", errors.New("monitor: no forwarded port in " + strings.TrimSpace(text))
	}
	return net.JoinHostPort("127.0.0.1", found[1]), nil
}

// hasTag looks for a tag in the table that "info snapshots" prints: ID, TAG, size and times.
func hasTag(table, tag string) bool {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == tag && f[0] != "ID" {
			return true
		}
	}
	return false
}
