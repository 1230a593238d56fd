package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/zferry/zferry/rpc"
)

// linkProtocol is the version of docs/host-protocol.md that this host speaks.
const linkProtocol = 1

// registration is what a plugin says of itself.
type registration struct {
	Protocol int    `json:"protocol"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	Started  string `json:"started"`
	Token    hidden `json:"token"`
	Secret   hidden `json:"secret"`
	offer
}

// offer is what a plugin has for clients. The host keeps it while the plugin is away.
type offer struct {
	Methods []offeredMethod `json:"methods"`
	Events  []offeredEvent  `json:"events"`
}

type offeredMethod struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Roles       []string `json:"roles"`
	Job         bool     `json:"job"`
	Abortable   bool     `json:"abortable"`
	Logs        bool     `json:"logs"`
	ReadRoles   []string `json:"read_roles"`
	Output      bool     `json:"output,omitempty"`
	// JSON Schemas of the arguments, in a list, and of the result. nil: the plugin does not say.
	Accepts json.RawMessage `json:"accepts,omitempty"`
	Returns json.RawMessage `json:"returns,omitempty"`
}

type offeredEvent struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

// registered is the answer to a registration.
type registered struct {
	Secret string     `json:"reconnect_secret"`
	Jobs   jobSeries  `json:"jobs"`
	Host   hostNaming `json:"host"`
}

type jobSeries struct {
	First int64 `json:"first"`
	Step  int64 `json:"step"`
}

type hostNaming struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// readRegistration checks everything that can be checked without knowing other plugins.
func readRegistration(params json.RawMessage) (registration, error) {
	var version struct {
		Protocol *int `json:"protocol"`
	}
	if err := json.Unmarshal(params, &version); err != nil || version.Protocol == nil {
		return registration{}, rpc.Errorf(rpc.EINVAL, "registration: protocol is missing or is no number")
	}
	if *version.Protocol != linkProtocol {
		return registration{}, rpc.Errorf(rpc.EPROTONOSUPPORT, "protocol %d is not supported; those that are: %d", *version.Protocol, linkProtocol)
	}
	var r registration
	if err := json.Unmarshal(params, &r); err != nil {
		// The text of the error may quote what was sent, and a token may have been.
		field := "a member"
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			field = wrong.Field
		}
		return registration{}, rpc.Errorf(rpc.EINVAL, "registration: %s has the wrong type", field)
	}
	if fault := r.fault(); fault != "" {
		return registration{}, rpc.Errorf(rpc.EINVAL, "registration: %s", fault)
	}
	return r, nil
}

// fault says what is wrong with the registration, or nothing.
func (r *registration) fault() string {
	switch {
	case !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`).MatchString(r.Name):
		return "name must be 1 to 64 letters, digits, dots, dashes and underscores"
	case r.PID <= 0 || r.Started == "":
		return "pid and started must name the process"
	case (r.Token == "") == (r.Secret == ""):
		return "it must have either a token or a secret"
	}
	name := regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+$`)
	seen := make(map[string]bool)
	for _, m := range r.Methods {
		if !name.MatchString(m.Name) {
			return fmt.Sprintf("%q is no name for a method", m.Name)
		}
		if seen[m.Name] {
			return fmt.Sprintf("method %s stands there twice", m.Name)
		}
		seen[m.Name] = true
	}
	clear(seen)
	for _, e := range r.Events {
		if !name.MatchString(e.Name) {
			return fmt.Sprintf("%q is no name for an event", e.Name)
		}
		if seen[e.Name] {
			return fmt.Sprintf("event %s stands there twice", e.Name)
		}
		seen[e.Name] = true
	}
	return ""
}

// reserved tells whether a name is one of the host's, whether it serves it or not.
func reserved(name string) bool {
	return strings.HasPrefix(name, "core.") || strings.HasPrefix(name, "auth.") || strings.HasPrefix(name, "plugin.")
}
