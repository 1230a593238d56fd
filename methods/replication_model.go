package methods

import (
	"encoding/json"

	"github.com/zferry/zferry/tasks"
)

// replicationFields are the fields of a task that a one-time run has too (truenas-api.md 3.2).
type replicationFields struct {
	Direction                       string            `json:"direction" enum:"PUSH,PULL" doc:"PUSH sends to the other system, PULL fetches from it"`
	Transport                       string            `json:"transport" enum:"SSH,SSH+NETCAT,LOCAL" doc:"LOCAL is from pool to pool of this system"`
	SSHCredentials                  *int64            `json:"ssh_credentials" default:"null" doc:"id of an SSH connection"`
	NetcatActiveSide                *string           `json:"netcat_active_side" default:"null" enum:"LOCAL,REMOTE" doc:"which side listens"`
	NetcatActiveSideListenAddress   *string           `json:"netcat_active_side_listen_address" default:"null" doc:"address that the active side listens on"`
	NetcatActiveSidePortMin         *int64            `json:"netcat_active_side_port_min" default:"null" min:"1" max:"65535" doc:"lowest port"`
	NetcatActiveSidePortMax         *int64            `json:"netcat_active_side_port_max" default:"null" min:"1" max:"65535" doc:"highest port"`
	NetcatPassiveSideConnectAddress *string           `json:"netcat_passive_side_connect_address" default:"null" doc:"address under which the passive side reaches the active one"`
	Sudo                            bool              `json:"sudo" default:"false" doc:"run zfs through sudo on the remote side"`
	SourceDatasets                  []string          `json:"source_datasets" minlen:"1" doc:"datasets to replicate"`
	TargetDataset                   string            `json:"target_dataset" doc:"dataset to replicate to"`
	Recursive                       bool              `json:"recursive" doc:"with all filesystems and volumes below the source"`
	Exclude                         []string          `json:"exclude" default:"[]" doc:"datasets below the source that are left out"`
	Properties                      bool              `json:"properties" default:"true" doc:"send the properties of the datasets too"`
	PropertiesExclude               []string          `json:"properties_exclude" default:"[]" doc:"names of properties that the target does not take"`
	PropertiesOverride              map[string]string `json:"properties_override" default:"{}" doc:"values that properties get at the target, by name"`
	Replicate                       bool              `json:"replicate" default:"false" doc:"the whole tree with all its snapshots and properties"`
	Encryption                      bool              `json:"encryption" default:"false" doc:"encrypt the target"`
	EncryptionInherit               *bool             `json:"encryption_inherit" default:"null" doc:"with the key of its parent"`
	EncryptionKey                   *string           `json:"encryption_key" default:"null" doc:"key or passphrase of the target"`
	EncryptionKeyFormat             *string           `json:"encryption_key_format" default:"null" enum:"HEX,PASSPHRASE" doc:"what the key is: 64 hexadecimal digits, or a passphrase"`
	EncryptionKeyLocation           *string           `json:"encryption_key_location" default:"null" doc:"file at the target that the key is stored in"`
	PeriodicSnapshotTasks           []int64           `json:"periodic_snapshot_tasks" default:"[]" doc:"ids of the tasks whose snapshots are sent"`
	NamingSchema                    []string          `json:"naming_schema" default:"[]" doc:"strftime patterns of the names of snapshots to pull"`
	AlsoIncludeNamingSchema         []string          `json:"also_include_naming_schema" default:"[]" doc:"further patterns of the names of snapshots to push"`
	NameRegex                       *string           `json:"name_regex" default:"null" minlen:"1" doc:"selects snapshots by name"`
	RestrictSchedule                json.RawMessage   `json:"restrict_schedule" default:"null" doc:"send only snapshots made at these times"`
	AllowFromScratch                bool              `json:"allow_from_scratch" default:"false" doc:"begin anew if no snapshot is common to both sides"`
	Readonly                        string            `json:"readonly" default:"SET" enum:"SET,REQUIRE,IGNORE" doc:"what the property readonly of the target is set to, or has to be"`
	HoldPendingSnapshots            bool              `json:"hold_pending_snapshots" default:"false" doc:"do not let the source delete snapshots that were not sent yet"`
	RetentionPolicy                 string            `json:"retention_policy" enum:"SOURCE,CUSTOM,NONE" doc:"when snapshots at the target are deleted: as those of the source, by lifetime, or never"`
	LifetimeValue                   *int64            `json:"lifetime_value" default:"null" min:"1" doc:"lifetime of snapshots at the target, in units of lifetime_unit"`
	LifetimeUnit                    *string           `json:"lifetime_unit" default:"null" enum:"HOUR,DAY,WEEK,MONTH,YEAR" doc:"unit of lifetime_value"`
	Lifetimes                       []json.RawMessage `json:"lifetimes" default:"[]" doc:"further lifetimes for snapshots made at certain times"`
	Compression                     *string           `json:"compression" default:"null" enum:"LZ4,PIGZ,PLZIP" doc:"of the stream on its way"`
	SpeedLimit                      *int64            `json:"speed_limit" default:"null" min:"1" doc:"bytes per second"`
	LargeBlock                      bool              `json:"large_block" default:"true" doc:"allow blocks of more than 128 KiB in the stream"`
	Embed                           bool              `json:"embed" default:"false" doc:"allow embedded blocks in the stream"`
	Compressed                      bool              `json:"compressed" default:"true" doc:"send blocks as they are compressed on disk"`
	Retries                         int64             `json:"retries" default:"5" min:"1" doc:"attempts without progress before a run fails"`
	LoggingLevel                    *string           `json:"logging_level" default:"null" enum:"DEBUG,INFO,WARNING,ERROR" doc:"of the log of a run"`
}

// taskFields are those of a task only.
type taskFields struct {
	Name                 string          `json:"name" minlen:"1" doc:"of the task"`
	Auto                 bool            `json:"auto" doc:"run by itself, by the schedule or after a snapshot task"`
	Schedule             json.RawMessage `json:"schedule" default:"null" doc:"when it runs by itself"`
	OnlyMatchingSchedule bool            `json:"only_matching_schedule" default:"false" doc:"send only snapshots made at the times of the schedule"`
	Enabled              bool            `json:"enabled" default:"true" doc:"may run by itself"`
}

// onceFields are those of a one-time run only.
type onceFields struct {
	ExcludeMountpointProperty bool `json:"exclude_mountpoint_property" default:"true" doc:"the target does not take the mount point"`
	OnlyFromScratch           bool `json:"only_from_scratch" default:"false" doc:"fail if the target exists"`
	Mount                     bool `json:"mount" default:"true" doc:"mount the target afterwards"`
}

// replicationData is all that a user gives of a task.
type replicationData struct {
	taskFields
	replicationFields
}

type replicationCreateArgs struct {
	Data replicationData `json:"replication_create" doc:"the task"`
}

type replicationOnceArgs struct {
	Data struct {
		replicationFields
		onceFields
	} `json:"replication_run_onetime" doc:"what to replicate"`
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
