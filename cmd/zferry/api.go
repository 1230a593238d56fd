package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/rpc"
)

// Where zferry serve listens when the package has started it.
const (
	defaultSocket = "/run/zferry/zferry.sock"
	defaultListen = "127.0.0.1:6900"
	defaultState  = "/var/lib/zferry"
	keyName       = "admin-api-key" // in the data folder
)

// apiOptions are the flags that say which host is talked to, and as whom.
type apiOptions struct {
	url     string
	keyFile string
}

func (o *apiOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.url, "url", "", "the host's `address`: unix:///path/to.sock, ws://127.0.0.1:port/api/current, or wss://… (default: unix://"+defaultSocket+" if it is there, else port "+strings.TrimPrefix(defaultListen, "127.0.0.1:")+" of this machine)")
	f.StringVar(&o.keyFile, "api-key-file", "", "`file` with an API key (default: "+defaultState+"/"+keyName+" if it can be read; not needed at a Unix socket by root)")
}

// address is where the host is.
func (o *apiOptions) address() string {
	if o.url != "" {
		return o.url
	}
	if info, err := os.Stat(defaultSocket); err == nil && info.Mode()&os.ModeSocket != 0 {
		return "unix://" + defaultSocket
	}
	return "ws://" + defaultListen + "/api/current"
}

// key is the API key to log in with, "" for none.
func (o *apiOptions) key(address string) (string, error) {
	file := o.keyFile
	if file == "" {
		if strings.HasPrefix(address, "unix:") {
			return "", nil
		}
		file = defaultState + "/" + keyName
	}
	text, err := os.ReadFile(file)
	if err != nil && o.keyFile == "" {
		return "", nil // perhaps what is asked needs no login
	}
	if err != nil {
		return "", fmt.Errorf("API key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// client reaches the host. The caller closes it. events may be nil.
func (o *apiOptions) client(events func(rpc.Event), reconnected func()) (*rpc.Client, error) {
	address := o.address()
	key, err := o.key(address)
	if err != nil {
		return nil, err
	}
	c := rpc.ClientOptions{URL: address, OnEvent: events, OnReconnect: reconnected}
	if key != "" {
		c.Login = func(ctx context.Context, conn *rpc.Conn) error {
			var ok bool
			if err := conn.Call(ctx, "auth.login_with_api_key", []any{key}, &ok); err != nil {
				return err
			}
			if !ok {
				return errors.New("the host does not accept the API key: it is wrong, was revoked, or is another host's")
			}
			return nil
		}
	}
	return rpc.NewClient(c), nil
}

// explain adds to an error of the API what a person can do.
func explain(err error) error {
	var args rpc.ArgErrors
	var call *rpc.CallError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &args):
		lines := make([]string, len(args))
		for i, a := range args {
			lines[i] = a.Message
			if a.Attribute != "" {
				lines[i] = a.Attribute + ": " + a.Message
			}
		}
		return errors.New(strings.Join(lines, "\n"))
	case errors.Is(err, rpc.ErrMethodNotFound):
		return errors.New("the host has no such method")
	case errors.As(err, &call) && call.Errno == rpc.ENOTAUTHENTICATED:
		return errors.New("the host wants a login: give --api-key-file FILE, or use the Unix socket as root")
	}
	return err
}
