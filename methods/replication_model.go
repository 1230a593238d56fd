package methods

import (
	"encoding/json"

	"github.com/zferry/zferry/tasks"
)

// replicationFields are the fields of a task that a one-time run has too (truenas-api.md 3.2).
type replicationFields struct {
	Direction                       string            `json:"direction" enum:"PUSH,PULL"`
	Transport                       string            `json:"transport" enum:"SSH,SSH+NETCAT,LOCAL"`
	SSHCredentials                  *int64            `json:"ssh_credentials" default:"null" doc:"id of an SSH connection"`
	NetcatActiveSide                *string           `json:"netcat_active_side" default:"null" enum:"LOCAL,REMOTE"`
	NetcatActiveSideListenAddress   *string           `json:"netcat_active_side_listen_address" default:"null"`
	NetcatActiveSidePortMin         *int64            `json:"netcat_active_side_port_min" default:"null" min:"1" max:"65535"`
	NetcatActiveSidePortMax         *int64            `json:"netcat_active_side_port_max" default:"null" min:"1" max:"65535"`
	NetcatPassiveSideConnectAddress *string           `json:"netcat_passive_side_connect_address" default:"null"`
	Sudo                            bool              `json:"sudo" default:"false" doc:"run zfs through sudo on the remote side"`
	SourceDatasets                  []string          `json:"source_datasets" minlen:"1"`
	TargetDataset                   string            `json:"target_dataset"`
	Recursive                       bool              `json:"recursive" doc:"with all filesystems and volumes below the source"`
	Exclude                         []string          `json:"exclude" default:"[]"`
	Properties                      bool              `json:"properties" default:"true"`
	PropertiesExclude               []string          `json:"properties_exclude" default:"[]"`
	PropertiesOverride              map[string]string `json:"properties_override" default:"{}"`
	Replicate                       bool              `json:"replicate" default:"false"`
	Encryption                      bool              `json:"encryption" default:"false"`
	EncryptionInherit               *bool             `json:"encryption_inherit" default:"null"`
	EncryptionKey                   *string           `json:"encryption_key" default:"null"`
	EncryptionKeyFormat             *string           `json:"encryption_key_format" default:"null" enum:"HEX,PASSPHRASE"`
	EncryptionKeyLocation           *string           `json:"encryption_key_location" default:"null"`
	PeriodicSnapshotTasks           []int64           `json:"periodic_snapshot_tasks" default:"[]"`
	NamingSchema                    []string          `json:"naming_schema" default:"[]"`
	AlsoIncludeNamingSchema         []string          `json:"also_include_naming_schema" default:"[]"`
	NameRegex                       *string           `json:"name_regex" default:"null" minlen:"1" doc:"selects snapshots by name"`
	RestrictSchedule                json.RawMessage   `json:"restrict_schedule" default:"null"`
	AllowFromScratch                bool              `json:"allow_from_scratch" default:"false"`
	Readonly                        string            `json:"readonly" default:"SET" enum:"SET,REQUIRE,IGNORE"`
	HoldPendingSnapshots            bool              `json:"hold_pending_snapshots" default:"false"`
	RetentionPolicy                 string            `json:"retention_policy" enum:"SOURCE,CUSTOM,NONE"`
	LifetimeValue                   *int64            `json:"lifetime_value" default:"null" min:"1"`
	LifetimeUnit                    *string           `json:"lifetime_unit" default:"null" enum:"HOUR,DAY,WEEK,MONTH,YEAR"`
	Lifetimes                       []json.RawMessage `json:"lifetimes" default:"[]"`
	Compression                     *string           `json:"compression" default:"null" enum:"LZ4,PIGZ,PLZIP"`
	SpeedLimit                      *int64            `json:"speed_limit" default:"null" min:"1" doc:"bytes per second"`
	LargeBlock                      bool              `json:"large_block" default:"true"`
	Embed                           bool              `json:"embed" default:"false"`
	Compressed                      bool              `json:"compressed" default:"true"`
	Retries                         int64             `json:"retries" default:"5" min:"1" doc:"attempts without progress before a run fails"`
	LoggingLevel                    *string           `json:"logging_level" default:"null" enum:"DEBUG,INFO,WARNING,ERROR"`
}

// taskFields are those of a task only.
type taskFields struct {
	Name                 string          `json:"name" minlen:"1"`
	Auto                 bool            `json:"auto"`
	Schedule             json.RawMessage `json:"schedule" default:"null"`
	OnlyMatchingSchedule bool            `json:"only_matching_schedule" default:"false"`
	Enabled              bool            `json:"enabled" default:"true"`
}

// onceFields are those of a one-time run only.
type onceFields struct {
	ExcludeMountpointProperty bool `json:"exclude_mountpoint_property" default:"true"`
	OnlyFromScratch           bool `json:"only_from_scratch" default:"false"`
	Mount                     bool `json:"mount" default:"true"`
}

// replicationData is all that a user gives of a task.
type replicationData struct {
	taskFields
	replicationFields
}

type replicationCreateArgs struct {
	Data replicationData `json:"replication_create"`
}

type replicationOnceArgs struct {
	Data struct {
		replicationFields
		onceFields
	} `json:"replication_run_onetime"`
}

// definition is what the domain makes of the fields.
func (f *replicationFields) definition() tasks.Definition {
	lifetimes, _ := json.Marshal(f.Lifetimes) // raw values that came as JSON
	return tasks.Definition{
		Direction: f.Direction, Transport: f.Transport, SSHCredentials: f.SSHCredentials, Sudo: f.Sudo,
		Sources: f.SourceDatasets, Target: f.TargetDataset, Recursive: f.Recursive, NameRegex: f.NameRegex,
		Retries: int(f.Retries), LoggingLevel: f.LoggingLevel,

		NetcatActiveSide: f.NetcatActiveSide, NetcatActiveSideListenAddress: f.NetcatActiveSideListenAddress,
		NetcatActiveSidePortMin: f.NetcatActiveSidePortMin, NetcatActiveSidePortMax: f.NetcatActiveSidePortMax,
		NetcatPassiveSideConnect: f.NetcatPassiveSideConnectAddress, Exclude: f.Exclude,

		Properties: f.Properties, PropertiesExclude: f.PropertiesExclude, PropertiesOverride: f.PropertiesOverride, Replicate: f.Replicate,
		Encryption: f.Encryption, EncryptionInherit: f.EncryptionInherit, EncryptionKey: f.EncryptionKey,
		EncryptionKeyFormat: f.EncryptionKeyFormat, EncryptionKeyLocation: f.EncryptionKeyLocation,

		SnapshotTasks: f.PeriodicSnapshotTasks, NamingSchema: f.NamingSchema, AlsoIncludeSchema: f.AlsoIncludeNamingSchema,
		RestrictSchedule: f.RestrictSchedule, AllowFromScratch: f.AllowFromScratch, Readonly: f.Readonly,
		HoldPendingSnapshots: f.HoldPendingSnapshots, RetentionPolicy: f.RetentionPolicy,
		LifetimeValue: f.LifetimeValue, LifetimeUnit: f.LifetimeUnit, Lifetimes: lifetimes,
		Compression: f.Compression, SpeedLimit: f.SpeedLimit, LargeBlock: f.LargeBlock, Embed: f.Embed, Compressed: f.Compressed,
	}
}

func (t *replicationData) definition() tasks.Definition {
	d := t.replicationFields.definition()
	d.Name, d.Auto, d.Schedule = t.Name, t.Auto, t.Schedule
	d.OnlyMatchingSchedule, d.Enabled = t.OnlyMatchingSchedule, t.Enabled
	return d
}

func (in *replicationOnceArgs) definition() tasks.Definition {
	d := in.Data.definition()
	d.OneTime, d.Enabled = true, true
	d.ExcludeMountpoint, d.OnlyFromScratch, d.MountAfterwards = in.Data.ExcludeMountpointProperty, in.Data.OnlyFromScratch, in.Data.Mount
	return d
}
