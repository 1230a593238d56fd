package host

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
)

// loginLasts is how long a session may go on after its login.
const loginLasts = 30 * 24 * time.Hour

// identity is whom a session acts for. It is not changed after it was made.
type identity struct {
	user        string
	fullName    string
	uid         int      // of the system, -1 for a user of the host alone
	roles       []string // with those that they contain, sorted
	admin       bool     // holds FULL_ADMIN
	byKey       bool     // logged in with an API key
	credentials json.RawMessage
	expires     time.Time // zero: never
}

// credentials is how jobs and forwarded calls name who started them.
type credentials struct {
	Type string         `json:"type"`
	Data credentialData `json:"data"`
}

type credentialData struct {
	Username string     `json:"username"`
	LoginAt  rpc.Date   `json:"login_at"`
	APIKey   *apiKeyRef `json:"api_key,omitempty"`
}

type apiKeyRef struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// keyIdentity is the user of an API key.
func keyIdentity(u state.User, k state.Key) *identity {
	now := time.Now()
	id := &identity{user: u.Name, fullName: u.FullName, uid: -1, byKey: true, expires: now.Add(loginLasts)}
	id.setRoles(u.Roles)
	id.credentials = mustJSON(credentials{"API_KEY", credentialData{u.Name, rpc.Date(now), &apiKeyRef{k.ID, k.Name}}})
	return id
}

// peerIdentity is the user of a process at the other end of a Unix socket. Only root and the server's own user need no login.
// For others it gives nil.
func peerIdentity(uid int) *identity {
	if uid != 0 && uid != os.Geteuid() {
		return nil
	}
	id := &identity{uid: uid, user: "root"}
	if uid != 0 {
		id.user = "uid " + strconv.Itoa(uid)
		if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			id.user, id.fullName = u.Username, u.Name
		}
	}
	id.setRoles([]string{fullAdmin})
	id.credentials = mustJSON(credentials{"UNIX_SOCKET", credentialData{Username: id.user, LoginAt: rpc.Date(time.Now())}})
	return id
}

func (id *identity) setRoles(roles []string) {
	id.roles = expandRoles(roles)
	id.admin = slices.Contains(id.roles, fullAdmin)
}

// holds tells whether the user has one of the roles. Somebody who may read everything holds every role to read, also those of
// a plugin that the host has never heard of.
func (id *identity) holds(roles []string) bool {
	if id.admin {
		return true
	}
	reads := slices.Contains(id.roles, readonlyAdmin)
	return slices.ContainsFunc(roles, func(role string) bool {
		return slices.Contains(id.roles, role) || reads && strings.HasSuffix(role, "_READ")
	})
}

// audience is who an event is for.
type audience struct {
	Roles []string `json:"roles"`
	Owner *string  `json:"owner"`
}

func (id *identity) in(a audience) bool {
	return id.holds(a.Roles) || a.Owner != nil && *a.Owner == id.user
}

// userInfo is a user as auth.me shows it, member for member.
type userInfo struct {
	Name              string         `json:"pw_name"`
	FullName          string         `json:"pw_gecos"`
	Dir               string         `json:"pw_dir"`
	Shell             string         `json:"pw_shell"`
	UID               int            `json:"pw_uid"`
	GID               int            `json:"pw_gid"`
	Groups            []int          `json:"grouplist"`
	SID               *string        `json:"sid"`
	Source            string         `json:"source"`
	Local             bool           `json:"local"`
	AccountAttributes []string       `json:"account_attributes"`
	Attributes        map[string]any `json:"attributes"`
	TwoFactor         *struct{}      `json:"two_factor_config"`
	Privilege         privilege      `json:"privilege"`
}

type privilege struct {
	Roles    rpc.Set[string] `json:"roles"`
	WebShell bool            `json:"web_shell"`
	WebUI    bool            `json:"webui_access"`
}

func (id *identity) me() userInfo {
	const local = "LOCAL"
	attributes := []string{local}
	if id.byKey {
		attributes = append(attributes, "API_KEY")
	}
	return userInfo{
		Name: id.user, FullName: id.fullName, Dir: "/nonexistent", Shell: "/usr/sbin/nologin", UID: id.uid, GID: id.uid,
		Source: local, Local: true, AccountAttributes: attributes, Attributes: map[string]any{},
		Privilege: privilege{Roles: id.roles, WebUI: true},
	}
}

// mustJSON is for values of this package that always have a JSON form.
func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("host: %v", err))
	}
	return data
}
