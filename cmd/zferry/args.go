package main

import (
	"errors"
	"fmt"
	"strings"
)

// endpoint is one side of a replication as a user names it: a dataset here, or one on another system.
type endpoint struct {
	user    string // "" is the user who runs this
	host    string // "" is this system
	dataset string
}

func (e endpoint) remote() bool { return e.host != "" }

// String is how the user could have written it.
func (e endpoint) String() string {
	if !e.remote() {
		if _, _, host := cutHost(e.dataset); host {
			return ":" + e.dataset
		}
		return e.dataset
	}
	host := e.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if e.user != "" {
		host = e.user + "@" + host
	}
	return host + ":" + e.dataset
}

// parseEndpoint reads dataset or [user@]host:dataset. As in rsync and scp, what stands before the first colon is a host
// if it has no slash. A colon in front of everything says that there is no host, for pools with a colon in their name.
func parseEndpoint(arg string) (endpoint, error) {
	var e endpoint
	if strings.Contains(arg, "://") {
		return e, fmt.Errorf("%q is a URL: write user@host:dataset, and the port with --port", arg)
	}
	host, dataset, found := cutHost(arg)
	e.dataset = dataset
	if found && host != "" {
		at := strings.LastIndex(host, "@")
		if at == 0 {
			return e, fmt.Errorf("%q: no user before the @", arg)
		}
		if at > 0 {
			e.user, host = host[:at], host[at+1:]
		}
		e.host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if e.host == "" || strings.ContainsAny(e.host, " /[]") || strings.HasPrefix(e.host, "-") || strings.HasPrefix(e.user, "-") {
			return e, fmt.Errorf("%q: %q is no host name", arg, host)
		}
	}
	if err := checkDataset(e.dataset); err != nil {
		return e, fmt.Errorf("%q: %w", arg, err)
	}
	return e, nil
}

// cutHost splits arg at the colon behind the host, if it has one.
func cutHost(arg string) (host, dataset string, found bool) {
	// The colons of an IPv6 address stand in brackets.
	start := 0
	if _, address, ok := strings.Cut(arg, "["); ok {
		if end := strings.Index(address, "]:"); end >= 0 && !strings.Contains(arg[:len(arg)-len(address)], "/") {
			start = len(arg) - len(address) + end
		}
	}
	colon := strings.IndexByte(arg[start:], ':')
	if colon < 0 || strings.Contains(arg[:start+colon], "/") {
		return "", arg, false
	}
	return arg[:start+colon], arg[start+colon+1:], true
}

// checkDataset finds what a user is likely to give in place of a dataset. Whether ZFS takes the name is for package zfs.
func checkDataset(name string) error {
	switch {
	case name == "":
		return errors.New("no dataset")
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("a dataset is wanted, not a path: leave out the first slash if the dataset is %s", strings.Trim(name, "/"))
	case strings.HasSuffix(name, "/"):
		return errors.New("leave out the last slash")
	case strings.Contains(name, "@"):
		return errors.New("a dataset is wanted, not a snapshot: all its snapshots are replicated")
	case strings.Contains(name, "#"):
		return errors.New("a dataset is wanted, not a bookmark")
	case strings.HasPrefix(name, "-"):
		return errors.New("a dataset cannot begin with a dash")
	}
	return nil
}

// parseEndpoints reads both arguments of a replication.
func parseEndpoints(source, target string) (from, to endpoint, err error) {
	if from, err = parseEndpoint(source); err != nil {
		return from, to, fmt.Errorf("source %w", err)
	}
	if to, err = parseEndpoint(target); err != nil {
		return from, to, fmt.Errorf("target %w", err)
	}
	if from.remote() && to.remote() {
		return from, to, fmt.Errorf("%s and %s are both on other systems: run zferry on one of the two, so that the data takes one way and not two", from, to)
	}
	return from, to, nil
}
