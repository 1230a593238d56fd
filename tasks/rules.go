package tasks

import (
	"strings"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/pythonre"
)

// Netcat is the transport that sends streams over a connection of their own, unencrypted.
const Netcat = "SSH+NETCAT"

// Around is what the rules of a definition need to know of everything else that is kept.
type Around struct {
	NameTaken  bool   // another task has its name
	Connection string // what is wrong with the SSH connection that it names, "" if nothing is
	// SnapshotTasks are those of the periodic snapshot tasks that it names which exist, by id.
	SnapshotTasks map[int64]SnapshotTask
}

// SnapshotTask is a periodic snapshot task as far as it matters to a replication task that is bound to it.
type SnapshotTask struct {
	Dataset   string
	Recursive bool
	Exclude   []string
	Enabled   bool
}

// rules collects what is wrong with a definition.
type rules struct {
	*Definition
	around Around
	bad    faults.List
	bound  []boundTask // the snapshot tasks that exist, in the order in which they are named
}

// boundTask is a snapshot task that the definition names, index counting from 0.
type boundTask struct {
	index int
	SnapshotTask
}

// Check finds everything that is wrong with d, in the order of truenas-api.md 3.3 and with its texts. What is ours comes after
// that, and last what the engine does not do yet.
func (d *Definition) Check(around Around) faults.List {
	r := &rules{Definition: d, around: around}
	for i, id := range d.SnapshotTasks {
		if t, ok := around.SnapshotTasks[id]; ok {
			r.bound = append(r.bound, boundTask{i, t})
		}
	}
	r.name()
	switch d.Direction {
	case Push:
		r.push()
	case Pull:
		r.pull()
	}
	r.netcat()
	r.connection()
	r.sources()
	r.fullFilesystem()
	r.encryption()
	r.schedules()
	r.regex()
	r.retention()
	r.disabled()
	r.names()
	d.checkHonoured(&r.bad)
	return r.bad
}

// name is rule 1.
func (r *rules) name() {
	if r.around.NameTaken {
		r.bad = append(r.bad, nameTaken())
	}
}

// push holds rules 2 to 5.
func (r *rules) push() {
	for i, id := range r.SnapshotTasks {
		if _, ok := r.around.SnapshotTasks[id]; !ok {
			r.bad.Addf("periodic_snapshot_tasks."+itoa(i), "This snapshot task does not exist")
		}
	}
	if len(r.NamingSchema) > 0 {
		r.bad.Addf("naming_schema", "This field has no sense for push replication")
	}
	if len(r.bound)+len(r.AlsoIncludeSchema) == 0 && r.NameRegex == nil {
		r.bad.Addf("periodic_snapshot_tasks", `You must at least either bind a periodic snapshot task or provide "Also Include Naming Schema" or "Name Regex" for push replication task`)
	}
	if r.Auto && !isSet(r.Schedule) && len(r.SnapshotTasks) == 0 {
		r.bad.Addf("auto", "Push replication that runs automatically must be either bound to a periodic snapshot task or have a schedule")
	}
}

// pull holds rules 6 to 11.
func (r *rules) pull() {
	if r.Auto && !isSet(r.Schedule) {
		r.bad.Addf("auto", "Pull replication that runs automatically must have a schedule")
	}
	if len(r.SnapshotTasks) > 0 {
		r.bad.Addf("periodic_snapshot_tasks", "Pull replication can't be bound to a periodic snapshot task")
	}
	if len(r.NamingSchema) == 0 && r.NameRegex == nil {
		r.bad.Addf("naming_schema", "Naming schema or Name regex are required for pull replication")
	}
	if len(r.AlsoIncludeSchema) > 0 {
		r.bad.Addf("also_include_naming_schema", "This field has no sense for pull replication")
	}
	if r.HoldPendingSnapshots {
		r.bad.Addf("hold_pending_snapshots", "Pull replication tasks can't hold pending snapshots because they don't do source retention")
	}
	if r.NoPull {
		r.bad.Addf("direction", "You don't have permissions to use PULL replication")
	}
}

// netcat holds rules 12 to 16.
func (r *rules) netcat() {
	if r.Transport == Netcat {
		if r.NetcatActiveSide == nil {
			r.bad.Addf("netcat_active_side", "You must choose active side for SSH+netcat replication")
		}
		if least, most := r.NetcatActiveSidePortMin, r.NetcatActiveSidePortMax; least != nil && most != nil && *least > *most {
			r.bad.Addf("netcat_active_side_port_max", "Please specify value greater than or equal to netcat_active_side_port_min")
		}
		if r.Compression != nil {
			r.bad.Addf("compression", "Compression is not supported for SSH+netcat replication")
		}
		if r.SpeedLimit != nil {
			r.bad.Addf("speed_limit", "Speed limit is not supported for SSH+netcat replication")
		}
		return
	}
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"netcat_active_side", r.NetcatActiveSide != nil},
		{"netcat_active_side_listen_address", r.NetcatActiveSideListenAddress != nil},
		{"netcat_active_side_port_min", r.NetcatActiveSidePortMin != nil},
		{"netcat_active_side_port_max", r.NetcatActiveSidePortMax != nil},
		{"netcat_passive_side_connect_address", r.NetcatPassiveSideConnect != nil},
	} {
		if f.set {
			r.bad.Addf(f.field, "This field only has sense for SSH+netcat replication")
		}
	}
}

// connection holds rules 17 to 21.
func (r *rules) connection() {
	if r.Remote() {
		switch {
		case r.SSHCredentials == nil:
			r.bad.Addf("ssh_credentials", "SSH Credentials are required for non-local replication")
		case r.around.Connection != "":
			r.bad.Addf("ssh_credentials", "%s", r.around.Connection)
		}
		return
	}
	if r.SSHCredentials != nil {
		r.bad.Addf("ssh_credentials", "Remote credentials have no sense for local replication")
	}
	if r.Compression != nil {
		r.bad.Addf("compression", "Compression has no sense for local replication")
	}
	if r.SpeedLimit != nil {
		r.bad.Addf("speed_limit", "Speed limit has no sense for local replication")
	}
}

// regex holds rules 35 to 37. The one of retention with a regular expression, 38, is in retention.
func (r *rules) regex() {
	if r.NameRegex == nil {
		return
	}
	if _, err := pythonre.Compile("("+*r.NameRegex+")$", false); err != nil {
		r.bad.Addf("name_regex", "Invalid regex: %s", strings.TrimSuffix(err.Error(), "."))
	}
	if len(r.SnapshotTasks) > 0 {
		r.bad.Addf("name_regex", "Naming regex can't be used with periodic snapshot tasks")
	}
	if len(r.NamingSchema)+len(r.AlsoIncludeSchema) > 0 {
		r.bad.Addf("name_regex", "Naming regex can't be used with Naming schema")
	}
}
