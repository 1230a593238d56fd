package methods

import (
	"context"
	"errors"
	"time"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/pythonre"
	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/tasks"
)

// registerLooks registers what a wizard asks while a task is made (truenas-api.md 3.6).
func (x *Replications) registerLooks(r *rpc.Registry) {
	roles := []string{replicationWrite}
	rpc.Register(r, "replication.list_datasets", rpc.Meta{Description: "Lists the filesystems and volumes of a system.", Roles: roles}, x.listDatasets)
	rpc.Register(r, "replication.create_dataset", rpc.Meta{Description: "Creates a filesystem on a system, with its missing parents.", Roles: roles}, x.createDataset)
	rpc.Register(r, "replication.list_naming_schemas", rpc.Meta{Description: "Lists the naming schemas that tasks use.", Roles: roles},
		func(ctx context.Context, _ struct{}) ([]string, error) { return x.tasks.NamingSchemas(ctx) })
	rpc.Register(r, "replication.count_eligible_manual_snapshots", rpc.Meta{
		Description: "Counts the snapshots of datasets, and those of them that a naming schema or regular expression selects.", Roles: roles,
	}, x.countEligible)
	rpc.Register(r, "replication.target_unmatched_snapshots", rpc.Meta{
		Description: "Lists, for each target dataset, the snapshots that its source lacks.", Roles: roles,
	}, x.targetUnmatched)
	rpc.Register(r, "replication.new_snapshot_name", rpc.Meta{Description: "The name that a naming schema gives a snapshot now.", Roles: []string{fullAdmin}},
		func(_ context.Context, in schemaArgs) (string, error) { return in.Schema.name(time.Now()) })
}

// fullAdmin is the one role for private methods.
const fullAdmin = "FULL_ADMIN"

// namingSchema is a naming schema that was checked (truenas-api.md 5.2).
type namingSchema string

// Validate holds the rules of 5.2.
func (n namingSchema) Validate() error {
	_, err := replication.ParseSchema(string(n))
	return err
}

func (n namingSchema) name(at time.Time) (string, error) {
	s, err := replication.ParseSchema(string(n))
	return s.Name(at), err
}

type schemaArgs struct {
	Schema namingSchema `json:"naming_schema" doc:"strftime: how the time of a snapshot becomes its name"`
}

type placeFields struct {
	Transport      string `json:"transport" enum:"SSH,SSH+NETCAT,LOCAL" doc:"LOCAL: this system"`
	SSHCredentials *int64 `json:"ssh_credentials" default:"null" doc:"id of an SSH connection"`
}

func (p placeFields) place() tasks.Place {
	return tasks.Place{Transport: p.Transport, SSHCredentials: p.SSHCredentials}
}

type listDatasetsArgs struct{ placeFields }

func (x *Replications) listDatasets(ctx context.Context, in listDatasetsArgs) ([]string, error) {
	names, err := x.tasks.Datasets(ctx, in.place())
	return list(names), lookError(err)
}

type createDatasetArgs struct {
	Dataset string `json:"dataset" doc:"a filesystem"`
	placeFields
}

func (x *Replications) createDataset(ctx context.Context, in createDatasetArgs) (*struct{}, error) {
	return nil, lookError(x.tasks.CreateDataset(ctx, in.place(), in.Dataset))
}

type countEligibleArgs struct {
	Data struct {
		Datasets     []string       `json:"datasets" minlen:"1" doc:"without what is below them"`
		NamingSchema []namingSchema `json:"naming_schema" default:"[]" doc:"count what one of these has named"`
		NameRegex    *string        `json:"name_regex" default:"null" minlen:"1" doc:"count what this matches as a whole; a regular expression of Python"`
		placeFields
	} `json:"count_eligible_manual_snapshots" doc:"what to count"`
}

type eligible struct {
	Total    int `json:"total" doc:"all snapshots"`
	Eligible int `json:"eligible" doc:"those that are selected"`
}

func (x *Replications) countEligible(ctx context.Context, in countEligibleArgs) (eligible, error) {
	schemas, regex := in.Data.NamingSchema, in.Data.NameRegex
	if len(schemas) > 0 && regex != nil {
		return eligible{}, rpc.Errorf(rpc.EINVAL, "`naming_schema` and `name_regex` cannot be used simultaneously")
	}
	names, err := x.tasks.Snapshots(ctx, in.Data.place(), in.Data.Datasets)
	if err != nil {
		return eligible{}, lookError(err)
	}
	if len(schemas) == 0 && regex == nil {
		return eligible{}, rpc.Errorf(rpc.EINVAL, "Either `naming_schema` or `name_regex` must be specified")
	}
	selects, err := selection(schemas, regex)
	if err != nil {
		return eligible{}, err
	}
	count := eligible{Total: len(names)}
	for _, name := range names {
		ok, err := selects(name)
		if err != nil {
			return eligible{}, err
		}
		if ok {
			count.Eligible++
		}
	}
	return count, nil
}

// selection tells of a name whether one of the schemas has made it, or whether the expression matches all of it.
func selection(schemas []namingSchema, regex *string) (func(name string) (bool, error), error) {
	if regex != nil {
		re, err := pythonre.Compile("("+*regex+")$", false)
		if err != nil {
			return nil, rpc.Errorf(rpc.EFAULT, "Invalid `name_regex`: %v", err)
		}
		return re.MatchString, nil
	}
	parsed := make([]replication.Schema, len(schemas))
	for i, schema := range schemas {
		var err error
		if parsed[i], err = replication.ParseSchema(string(schema)); err != nil {
			return nil, err
		}
	}
	return func(name string) (bool, error) {
		for _, s := range parsed {
			if _, ok := s.Time(name); ok {
				return true, nil
			}
		}
		return false, nil
	}, nil
}

type unmatchedArgs struct {
	Direction string   `json:"direction" enum:"PUSH,PULL" doc:"of the task that is to be made"`
	Sources   []string `json:"source_datasets" minlen:"1" doc:"its sources"`
	Target    string   `json:"target_dataset" doc:"its target"`
	placeFields
}

// targetUnmatched fails only if a system cannot be reached (decisions 30 item 28): a wizard that is told of anything else would
// make its task twice.
func (x *Replications) targetUnmatched(ctx context.Context, in unmatchedArgs) (map[string][]string, error) {
	found, err := x.tasks.Unmatched(ctx, in.Direction, in.Sources, in.Target, in.place())
	switch {
	case err == nil:
		return found, nil
	case errors.As(err, new(*tasks.UnreachableError)), errors.As(err, new(faults.List)), errors.Is(err, tasks.ErrNoConnection):
		return nil, lookError(err)
	case ctx.Err() != nil:
		return nil, err
	}
	return map[string][]string{}, nil
}

// lookError says what kept a system from being looked at, in the words of 3.6.
func lookError(err error) error {
	var unreachable *tasks.UnreachableError
	var key *ssh.HostKeyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &key) && errors.Is(err, ssh.ErrHostKeyChanged):
		return rpc.Errorf(rpc.EACCES, "Remote host identification has changed. Someone could be eavesdropping on you right now "+
			"(man-in-the-middle attack)! It is also possible that a host key has just been changed. The fingerprint for the RSA key sent by "+
			"the remote host is %s. Please edit your SSH connection and click \"Discover Remote Host Key\" to resolve this issue.", key.Have)
	case errors.As(err, &unreachable):
		return rpc.Errorf(rpc.EACCES, "%v", err)
	case errors.Is(err, tasks.ErrNoConnection):
		return rpc.Errorf(rpc.EFAULT, "%v", err)
	}
	return wireError(err, "")
}
