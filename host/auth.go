package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
)

// plain is the one mechanism of auth.login_ex that is served.
const plain = "API_KEY_PLAIN"

// registerAuth registers auth.*.
func (h *Host) registerAuth(r *rpc.Registry) {
	rpc.Register(r, "auth.mechanism_choices", rpc.Meta{Description: "Lists the ways to log in with auth.login_ex."},
		func(context.Context, noArgs) ([]string, error) { return []string{plain}, nil })
	rpc.Register(r, "auth.login_with_api_key", rpc.Meta{Description: "Logs in with an API key and tells whether that worked."}, h.loginWithKey)
	rpc.Register(r, "auth.login_ex", rpc.Meta{Description: "Logs in."}, h.loginEx)
	rpc.Register(r, "auth.me", rpc.Meta{Description: "Tells who is logged in."},
		func(ctx context.Context, _ noArgs) (any, error) { return callOf(ctx).who.me(), nil })
	rpc.Register(r, "auth.logout", rpc.Meta{Description: "Ends the login, but not the connection."}, logout)
}

type keyArgs struct {
	Key string `json:"api_key"`
}

func (h *Host) loginWithKey(ctx context.Context, in keyArgs) (bool, error) {
	who, err := h.checkKey(ctx, in.Key, "")
	return who != nil, err
}

// checkKey logs the session in if the key is good, and belongs to the user, if one is named. If it is not good, it gives nil.
func (h *Host) checkKey(ctx context.Context, key, user string) (*identity, error) {
	c := callOf(ctx)
	u, k, err := h.store.CheckKey(ctx, key)
	if errors.Is(err, state.ErrKey) || err == nil && user != "" && u.Name != user {
		c.session.log.Warn("refused an API key")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	who := keyIdentity(u, k)
	c.session.login(c.conn, who)
	return who, nil
}

func logout(ctx context.Context, _ noArgs) (bool, error) {
	c := callOf(ctx)
	c.session.logout(c.conn)
	return true, nil
}

type loginArgs struct {
	Data json.RawMessage `json:"login_data"`
}

// keyLogin is the login_data of API_KEY_PLAIN.
type keyLogin struct {
	Mechanism string       `json:"mechanism"`
	Username  string       `json:"username" minlen:"1"`
	Key       string       `json:"api_key" minlen:"1"`
	Options   loginOptions `json:"login_options" default:"{}"`
}

type loginOptions struct {
	UserInfo       bool `json:"user_info" default:"true"`
	ReconnectToken bool `json:"reconnect_token" default:"false"`
}

// loginResult is the answer to a login that was understood.
type loginResult struct {
	Response string `json:"response_type"`
	*loginSuccess
}

type loginSuccess struct {
	UserInfo       any     `json:"user_info"`
	Authenticator  string  `json:"authenticator"`
	ReconnectToken *string `json:"reconnect_token"`
}

func (h *Host) loginEx(ctx context.Context, in loginArgs) (loginResult, error) {
	const argument = "login_data"
	var given struct {
		Mechanism *string `json:"mechanism"`
	}
	if err := json.Unmarshal(in.Data, &given); err != nil || given.Mechanism == nil {
		return loginResult{}, rpc.ArgErrors{{Attribute: argument, Message: "Unable to extract tag using discriminator 'mechanism'"}}
	}
	switch *given.Mechanism {
	case plain:
	case "PASSWORD_PLAIN", "TOKEN_PLAIN", "OTP_TOKEN", "SCRAM":
		return loginResult{}, rpc.Errorf(rpc.EOPNOTSUPP, "%s: this server takes %s only", *given.Mechanism, plain)
	default:
		return loginResult{}, rpc.ArgErrors{{Attribute: argument, Message: fmt.Sprintf("Input tag '%s' found using 'mechanism' "+
			"does not match any of the expected tags: 'API_KEY_PLAIN', 'PASSWORD_PLAIN', 'TOKEN_PLAIN', 'OTP_TOKEN', 'SCRAM'", *given.Mechanism)}}
	}
	login, err := rpc.BindValue[keyLogin](argument+"."+plain, in.Data)
	if err != nil {
		return loginResult{}, err
	}
	who, err := h.checkKey(ctx, login.Key, login.Username)
	if err != nil {
		return loginResult{}, err
	}
	if who == nil {
		return loginResult{Response: "AUTH_ERR"}, nil
	}
	// There are no reconnect tokens yet; null is what a client gets that has not asked for one.
	success := &loginSuccess{Authenticator: "LEVEL_1"}
	if login.Options.UserInfo {
		success.UserInfo = who.me()
	}
	return loginResult{Response: "SUCCESS", loginSuccess: success}, nil
}
