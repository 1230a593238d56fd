package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/zferry/zferry/rpc"
)

const (
	maxFiles      = 5
	maxUploadData = 64 << 10 // of the part that says what is called
	uploadStall   = time.Minute
)

// upload is a call of a job that reads files, on its way from an HTTP request to the plugin.
type upload struct {
	session *session
	route   route
	method  string
	params  json.RawMessage
	parts   *multipart.Reader
	control *http.ResponseController
	outputs []*rpc.Output // a byte stream for each file that may come
}

// denial is an HTTP status and why.
type denial struct {
	status int
	text   string
}

func deny(status int, format string, args ...any) *denial {
	return &denial{status, fmt.Sprintf(format, args...)}
}

// serveUpload takes files for a job of a plugin, and answers with its number when the files have gone through.
func (h *Host) serveUpload(w http.ResponseWriter, r *http.Request) {
	unit, begun := h.work.begin()
	if !begun {
		http.Error(w, "the server is going away", http.StatusServiceUnavailable)
		return
	}
	defer unit.finish()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s, _ := h.newSession(r, currentAPI)
	u := &upload{session: s, control: http.NewResponseController(w)}
	unit.onEnd(func() {
		cancel()
		_ = u.control.SetReadDeadline(time.Now()) // a client that stands still is not waited for
	})
	job, no := u.receive(ctx, r)
	if no != nil {
		s.log.Info("refused an upload", "method", u.method, "status", no.status, "reason", no.text)
		http.Error(w, no.text, no.status)
		return
	}
	h.answerJSON(w, map[string]int64{"job_id": job})
}

// receive does everything up to the answer.
func (u *upload) receive(ctx context.Context, r *http.Request) (job int64, no *denial) {
	if err := u.control.SetReadDeadline(time.Now().Add(uploadStall)); err != nil {
		return 0, deny(http.StatusInternalServerError, "%v", err)
	}
	if no := u.session.loginByHeader(ctx, r); no != nil {
		return 0, no
	}
	var err error
	if u.parts, err = r.MultipartReader(); err != nil {
		return 0, deny(http.StatusBadRequest, "%v", err)
	}
	if no := u.readCall(); no != nil {
		return 0, no
	}
	who, no := u.authorize()
	if no != nil {
		return 0, no
	}
	first, err := u.next()
	if err != nil || first.FormName() != "file" {
		return 0, deny(http.StatusMethodNotAllowed, `"file" not found as second part on payload`)
	}
	return u.run(ctx, who, first)
}

// next is the next part. The end of the request is io.EOF.
func (u *upload) next() (*multipart.Part, error) {
	if err := u.control.SetReadDeadline(time.Now().Add(uploadStall)); err != nil {
		return nil, err
	}
	return u.parts.NextRawPart()
}

// readCall reads the first part, which says what is called.
func (u *upload) readCall() *denial {
	part, err := u.next()
	switch {
	case errors.Is(err, io.EOF):
		return deny(http.StatusMethodNotAllowed, "No part found on payload")
	case err != nil:
		return deny(http.StatusBadRequest, "%v", err)
	case part.FormName() != "data":
		return deny(http.StatusMethodNotAllowed, `"data" part must be the first on payload`)
	}
	text, err := io.ReadAll(io.LimitReader(part, maxUploadData+1))
	switch {
	case err != nil:
		return deny(http.StatusBadRequest, "%v", err)
	case len(text) > maxUploadData:
		return deny(http.StatusRequestEntityTooLarge, `"data" part may have %d bytes at most`, maxUploadData)
	}
	var call struct {
		Method *string         `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(text, &call); err != nil {
		return deny(http.StatusBadRequest, `"data" part is not what it should be: %v`, err)
	}
	if call.Method == nil {
		return deny(http.StatusUnprocessableEntity, `"data" part has no method`)
	}
	u.method = *call.Method
	var ok bool
	if u.params, ok = legacyParams(call.Params); !ok {
		return deny(http.StatusUnprocessableEntity, "`params` must be a list.")
	}
	return nil
}

// authorize finds the method, and whether the user may call it.
func (u *upload) authorize() (*identity, *denial) {
	who, err := u.session.authenticated()
	if err != nil {
		return nil, deny(http.StatusUnauthorized, "%v", err)
	}
	var known bool
	u.route, known = u.session.host.plugins.route(u.method)
	switch {
	case !known:
		return nil, deny(http.StatusUnprocessableEntity, "%v", errUnknownMethod(u.method))
	case len(u.route.Roles) > 0 && !who.holds(u.route.Roles):
		return nil, deny(http.StatusForbidden, "%v", errNotAuthorized())
	case !u.route.Job:
		return nil, deny(http.StatusUnprocessableEntity, "%s is no job, and takes no file", u.method)
	}
	return who, nil
}

// loginByHeader logs the session in with what a request brings along, by the methods that clients on a WebSocket use, so that
// their rules hold here too.
func (s *session) loginByHeader(ctx context.Context, r *http.Request) *denial {
	method, params, no := credentialOf(r)
	if no != nil {
		return no
	}
	if method == "" {
		if _, err := s.authenticated(); err != nil { // a Unix socket's user may be logged in
			return deny(http.StatusUnauthorized, "%v", err)
		}
		return nil
	}
	result, err := s.handle(ctx, nil, rpc.Request{Method: method, Params: mustJSON(params)})
	if err != nil {
		return deny(http.StatusUnauthorized, "%v", err)
	}
	if string(mustJSON(result)) != "true" {
		return deny(http.StatusUnauthorized, "the credential is wrong, was used before or has expired")
	}
	return nil
}

// credentialOf finds what a request logs in with, and the method for it. Without any there is no method.
func credentialOf(r *http.Request) (method string, params []string, no *denial) {
	header := r.Header.Get("Authorization")
	token := r.URL.Query().Get("auth_token")
	if header == "" {
		if token != "" {
			return "auth.login_with_token", []string{token}, nil
		}
		return "", nil, nil
	}
	if token != "" {
		return "", nil, deny(http.StatusBadRequest, "Authorization and auth_token exclude each other")
	}
	scheme, secret, _ := strings.Cut(header, " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		return "auth.login_with_api_key", []string{secret}, nil
	case "token":
		return "auth.login_with_token", []string{secret}, nil
	case "basic":
		if user, password, ok := r.BasicAuth(); ok {
			return "auth.login", []string{user, password}, nil
		}
	}
	return "", nil, deny(http.StatusUnauthorized, "Authorization must be Bearer with an API key, Token, or Basic")
}
