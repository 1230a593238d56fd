package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Meta is what others are told about a method.
type Meta struct {
	Description string
	Roles       []string // a caller needs one of them; none: any caller who is logged in
	Job         bool     // calls of it start a job and answer with its id
	Abortable   bool     // of its jobs
	Logs        bool     // of its jobs
	ReadRoles   []string // who may see other people's jobs of it
	Output      bool     // its jobs write a byte stream, for core.download
}

// Method is a method on offer.
type Method struct {
	Name string
	Meta
	In, Out reflect.Type // for the description of the API; In is a struct, see Bind
	// Call may be called by many goroutines. params is a JSON array or empty.
	Call func(ctx context.Context, params json.RawMessage) (any, error)
}

// Registry is the set of methods on offer. The zero value is ready. It is filled while the program starts and only read
// afterwards, so it needs no lock.
type Registry struct {
	methods map[string]Method
}

// Register adds fn under name. Arguments that do not fit In are refused with ArgErrors before fn is called. It panics if
// the name is taken or In cannot be bound: both are mistakes in this program, never a condition of the host.
func Register[In, Out any](r *Registry, name string, m Meta, fn func(ctx context.Context, in In) (Out, error)) {
	RegisterRaw[In](r, name, m, func(ctx context.Context, params json.RawMessage) (out Out, err error) {
		in, err := Bind[In](params)
		if err != nil {
			return out, err
		}
		return fn(ctx, in)
	})
}

// RegisterRaw is Register for a method that binds its arguments later, as jobs do. In is what it will bind them to; here it
// is for the description only.
func RegisterRaw[In, Out any](r *Registry, name string, m Meta, fn func(ctx context.Context, params json.RawMessage) (Out, error)) {
	if _, dup := r.methods[name]; dup {
		panic(fmt.Sprintf("rpc: method %q registered twice", name))
	}
	in := reflect.TypeFor[In]()
	if err := checkArguments(in); err != nil {
		panic(fmt.Sprintf("rpc: method %q: %v", name, err))
	}
	if r.methods == nil {
		r.methods = make(map[string]Method)
	}
	r.methods[name] = Method{
		Name: name, Meta: m,
		In: in, Out: reflect.TypeFor[Out](),
		Call: func(ctx context.Context, params json.RawMessage) (any, error) { return fn(ctx, params) },
	}
}

// Methods lists the methods by name.
func (r *Registry) Methods() []Method {
	return slices.SortedFunc(maps.Values(r.methods), func(a, b Method) int { return strings.Compare(a.Name, b.Name) })
}

// Lookup finds a method.
func (r *Registry) Lookup(name string) (Method, bool) {
	m, ok := r.methods[name]
	return m, ok
}

// Handler answers calls from r, on behalf of the caller that ctx names.
func (r *Registry) Handler() Handler {
	return func(ctx context.Context, _ *Conn, q Request) (any, error) {
		m, ok := r.Lookup(q.Method)
		if !ok {
			return nil, ErrMethodNotFound
		}
		return m.Call(ctx, q.Params)
	}
}
