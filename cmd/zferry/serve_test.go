package main

import (
	"strings"
	"testing"

	"github.com/zferry/zferry/host"
)

// TestServeFlags is which flags of zferry serve contradict each other.
func TestServeFlags(t *testing.T) {
	const everywhere = "0.0.0.0:6900"
	for name, tt := range map[string]struct {
		o    serveOptions
		want string // part of the error, "" for none
	}{
		"the usual":               {o: serveOptions{listen: defaultListen}},
		"sockets only":            {o: serveOptions{sockets: []string{"/a", "/b"}}},
		"TLS":                     {o: serveOptions{listen: everywhere, tls: true}},
		"own certificate":         {o: serveOptions{listen: everywhere, certificate: "c", key: "k"}},
		"plain":                   {o: serveOptions{listen: everywhere, plainHTTP: true}},
		"nobody":                  {o: serveOptions{}, want: "nobody could connect"},
		"TLS for nothing":         {o: serveOptions{sockets: []string{"/a"}, tls: true}, want: "which is empty"},
		"plain for nothing":       {o: serveOptions{sockets: []string{"/a"}, plainHTTP: true}, want: "which is empty"},
		"certificate without key": {o: serveOptions{listen: everywhere, certificate: "c"}, want: "belong together"},
		"key without certificate": {o: serveOptions{listen: everywhere, key: "k"}, want: "belong together"},
		"plain and TLS":           {o: serveOptions{listen: everywhere, tls: true, plainHTTP: true}, want: "excludes"},
	} {
		err := tt.o.check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestReadyLine(t *testing.T) {
	for want, a := range map[string]host.Addresses{
		"ready at ws://127.0.0.1:1/api/current, API key in /k": {Client: "ws://127.0.0.1:1/api/current", KeyFile: "/k"},
		"ready at wss://[::]:1/api/current at unix:///a at unix:///b, API key in /k, certificate SHA-256 AB:CD": {
			Client: "wss://[::]:1/api/current", Sockets: []string{"/a", "/b"}, KeyFile: "/k", Fingerprint: "AB:CD",
		},
	} {
		if got := readyLine(a); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
