package tasks

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/zferry/zferry/faults"
)

// The directions and transports of a task.
const (
	Push  = "PUSH"
	Pull  = "PULL"
	SSH   = "SSH"
	Local = "LOCAL"
)

// Everything is the regular expression that selects every snapshot, the one selection that the engine knows so far.
const Everything = ".*"

// Definition is what a user wants of a replication task, in the fields of the TrueNAS API (truenas-api.md 3.2). Those that
// the engine does not honour yet are refused at their name when they ask for something (see Check), never passed over.
type Definition struct {
	Name           string   `json:"name"`
	Direction      string   `json:"direction"`
	Transport      string   `json:"transport"`
	SSHCredentials *int64   `json:"ssh_credentials"` // id of an SSH connection
	Sudo           bool     `json:"sudo"`            // on the remote side
	Sources        []string `json:"source_datasets"`
	Target         string   `json:"target_dataset"`
	Recursive      bool     `json:"recursive"`
	NameRegex      *string  `json:"name_regex"`
	Retries        int      `json:"retries"`       // attempts without progress before a run fails
	LoggingLevel   *string  `json:"logging_level"` // DEBUG, INFO, WARNING or ERROR; nil is INFO
	Enabled        bool     `json:"enabled"`

	NetcatActiveSide              *string  `json:"netcat_active_side"`
	NetcatActiveSideListenAddress *string  `json:"netcat_active_side_listen_address"`
	NetcatActiveSidePortMin       *int64   `json:"netcat_active_side_port_min"`
	NetcatActiveSidePortMax       *int64   `json:"netcat_active_side_port_max"`
	NetcatPassiveSideConnect      *string  `json:"netcat_passive_side_connect_address"`
	Exclude                       []string `json:"exclude"`

	Properties         bool              `json:"properties"`
	PropertiesExclude  []string          `json:"properties_exclude"`
	PropertiesOverride map[string]string `json:"properties_override"`
	Replicate          bool              `json:"replicate"`

	Encryption            bool    `json:"encryption"`
	EncryptionInherit     *bool   `json:"encryption_inherit"`
	EncryptionKey         *string `json:"-"` // a secret: refused so far, and never stored here
	EncryptionKeyFormat   *string `json:"encryption_key_format"`
	EncryptionKeyLocation *string `json:"encryption_key_location"`

	SnapshotTasks        []int64         `json:"periodic_snapshot_tasks"`
	NamingSchema         []string        `json:"naming_schema"`
	AlsoIncludeSchema    []string        `json:"also_include_naming_schema"`
	Auto                 bool            `json:"auto"`
	Schedule             json.RawMessage `json:"schedule"`
	RestrictSchedule     json.RawMessage `json:"restrict_schedule"`
	OnlyMatchingSchedule bool            `json:"only_matching_schedule"`
	AllowFromScratch     bool            `json:"allow_from_scratch"`
	Readonly             string          `json:"readonly"`
	HoldPendingSnapshots bool            `json:"hold_pending_snapshots"`
	RetentionPolicy      string          `json:"retention_policy"`
	LifetimeValue        *int64          `json:"lifetime_value"`
	LifetimeUnit         *string         `json:"lifetime_unit"`
	Lifetimes            json.RawMessage `json:"lifetimes"`
	Compression          *string         `json:"compression"`
	SpeedLimit           *int64          `json:"speed_limit"`
	LargeBlock           bool            `json:"large_block"`
	Embed                bool            `json:"embed"`
	Compressed           bool            `json:"compressed"`
	ExcludeMountpoint    bool            `json:"-"` // of one-time runs
	OnlyFromScratch      bool            `json:"-"`
	MountAfterwards      bool            `json:"-"`
	OneTime              bool            `json:"-"`
	NoPull               bool            `json:"-"` // who asks may not pull
}

// Remote tells whether one side is another system.
func (d *Definition) Remote() bool { return d.Transport != Local }

// nested tells whether dataset is root or lies below it.
func nested(dataset, root string) bool {
	return dataset == root || strings.HasPrefix(dataset, root+"/")
}

// checkHonoured refuses what the engine does not do yet, at its name.
func (d *Definition) checkHonoured(bad *faults.List) {
	for _, f := range d.beyond() {
		// A field that breaks a rule has been named already.
		if f.asked && !slices.ContainsFunc(*bad, func(b faults.Fault) bool { return b.Field == f.field }) {
			bad.Addf(f.field, "This version of zferry does not support this: %s", f.instead)
		}
	}
}

// beyond lists what the engine does not do yet, and what a user can do.
func (d *Definition) beyond() []wish {
	return []wish{
		{"transport", d.Transport != SSH && d.Transport != Local, "choose SSH or LOCAL"},
		{"source_datasets", len(d.Sources) > 1, "make a task for each source dataset"},
		{"exclude", len(d.Exclude) > 0, "leave it out"},
		{"properties", d.Properties, "set it to false; the target inherits its properties"},
		{"properties_exclude", len(d.PropertiesExclude) > 0, "leave it out"},
		{"properties_override", len(d.PropertiesOverride) > 0, "leave it out"},
		{"replicate", d.Replicate, "set it to false and recursive to true"},
		{"encryption", d.Encryption, "set it to false; encrypted datasets stay encrypted as they are"},
		{"encryption_inherit", d.EncryptionInherit != nil, "leave it out"},
		{"encryption_key", d.EncryptionKey != nil, "leave it out"},
		{"encryption_key_format", d.EncryptionKeyFormat != nil, "leave it out"},
		{"encryption_key_location", d.EncryptionKeyLocation != nil, "leave it out"},
		{"periodic_snapshot_tasks", len(d.SnapshotTasks) > 0, `leave it out and give name_regex ".*"`},
		{"naming_schema", len(d.NamingSchema) > 0, `leave it out and give name_regex ".*"`},
		{"also_include_naming_schema", len(d.AlsoIncludeSchema) > 0, `leave it out and give name_regex ".*"`},
		{"name_regex", d.NameRegex != nil && *d.NameRegex != Everything, `give ".*": every snapshot is replicated`},
		{"auto", d.Auto, "set it to false and start the task with replication.run"},
		{"schedule", isSet(d.Schedule), "leave it out and start the task with replication.run"},
		{"restrict_schedule", isSet(d.RestrictSchedule), "leave it out"},
		{"only_matching_schedule", d.OnlyMatchingSchedule, "set it to false"},
		{"allow_from_scratch", d.AllowFromScratch, "set it to false; a target that has nothing in common is refused and left as it is"},
		{"only_from_scratch", d.OnlyFromScratch, "set it to false"},
		{"exclude_mountpoint_property", d.OneTime && !d.ExcludeMountpoint, "leave it out; no mountpoint is replicated"},
		{"mount", d.OneTime && d.MountAfterwards, "set it to false"},
		{"readonly", d.Readonly != "IGNORE", "set it to IGNORE"},
		{"hold_pending_snapshots", d.HoldPendingSnapshots, "set it to false"},
		{"retention_policy", d.RetentionPolicy != "NONE", "set it to NONE; no snapshot is destroyed at the target"},
		{"lifetime_value", d.LifetimeValue != nil, "leave it out"},
		{"lifetime_unit", d.LifetimeUnit != nil, "leave it out"},
		{"lifetimes", isSet(d.Lifetimes), "leave it out"},
		{"compression", d.Compression != nil, "leave it out; blocks that are stored compressed are sent so"},
		{"speed_limit", d.SpeedLimit != nil, "leave it out"},
		{"large_block", !d.LargeBlock, "leave it out or set it to true"},
		{"embed", d.Embed, "set it to false"},
		{"compressed", !d.Compressed, "leave it out or set it to true"},
	}
}

// wish is a field that asks for more than the engine does.
type wish struct {
	field   string
	asked   bool
	instead string
}

// isSet tells whether a JSON value asks for something.
func isSet(value json.RawMessage) bool {
	text := string(value)
	return text != "" && text != "null" && text != "[]"
}
