package methods

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/tasks"
)

// replicationEntry is a task as clients see it, in the order of truenas-api.md 3.2.
type replicationEntry struct {
	ID                              int64             `json:"id"`
	Name                            string            `json:"name"`
	Direction                       string            `json:"direction"`
	Transport                       string            `json:"transport"`
	SSHCredentials                  *credentialEntry  `json:"ssh_credentials"`
	NetcatActiveSide                *string           `json:"netcat_active_side"`
	NetcatActiveSideListenAddress   *string           `json:"netcat_active_side_listen_address"`
	NetcatActiveSidePortMin         *int64            `json:"netcat_active_side_port_min"`
	NetcatActiveSidePortMax         *int64            `json:"netcat_active_side_port_max"`
	NetcatPassiveSideConnectAddress *string           `json:"netcat_passive_side_connect_address"`
	Sudo                            bool              `json:"sudo"`
	SourceDatasets                  []string          `json:"source_datasets"`
	TargetDataset                   string            `json:"target_dataset"`
	Recursive                       bool              `json:"recursive"`
	Exclude                         []string          `json:"exclude"`
	Properties                      bool              `json:"properties"`
	PropertiesExclude               []string          `json:"properties_exclude"`
	PropertiesOverride              map[string]string `json:"properties_override"`
	Replicate                       bool              `json:"replicate"`
	Encryption                      bool              `json:"encryption"`
	EncryptionInherit               *bool             `json:"encryption_inherit"`
	EncryptionKey                   *string           `json:"encryption_key"`
	EncryptionKeyFormat             *string           `json:"encryption_key_format"`
	EncryptionKeyLocation           *string           `json:"encryption_key_location"`
	PeriodicSnapshotTasks           []any             `json:"periodic_snapshot_tasks"`
	NamingSchema                    []string          `json:"naming_schema"`
	AlsoIncludeNamingSchema         []string          `json:"also_include_naming_schema"`
	NameRegex                       *string           `json:"name_regex"`
	Auto                            bool              `json:"auto"`
	Schedule                        json.RawMessage   `json:"schedule"`
	RestrictSchedule                json.RawMessage   `json:"restrict_schedule"`
	OnlyMatchingSchedule            bool              `json:"only_matching_schedule"`
	AllowFromScratch                bool              `json:"allow_from_scratch"`
	Readonly                        string            `json:"readonly"`
	HoldPendingSnapshots            bool              `json:"hold_pending_snapshots"`
	RetentionPolicy                 string            `json:"retention_policy"`
	LifetimeValue                   *int64            `json:"lifetime_value"`
	LifetimeUnit                    *string           `json:"lifetime_unit"`
	Lifetimes                       []any             `json:"lifetimes"`
	Compression                     *string           `json:"compression"`
	SpeedLimit                      *int64            `json:"speed_limit"`
	LargeBlock                      bool              `json:"large_block"`
	Embed                           bool              `json:"embed"`
	Compressed                      bool              `json:"compressed"`
	Retries                         int               `json:"retries"`
	LoggingLevel                    *string           `json:"logging_level"`
	Enabled                         bool              `json:"enabled"`
	State                           map[string]any    `json:"state"`
	Job                             *JobObject        `json:"job"`
	HasEncryptedDatasetKeys         bool              `json:"has_encrypted_dataset_keys"`
}

func (x *Replications) render(ctx context.Context, e tasks.Entry, show bool) replicationEntry {
	d := &e.Definition
	o := replicationEntry{
		ID: e.ID, Name: d.Name, Direction: d.Direction, Transport: d.Transport, SSHCredentials: x.connectionOf(ctx, d.SSHCredentials, show),
		NetcatActiveSide: d.NetcatActiveSide, NetcatActiveSideListenAddress: d.NetcatActiveSideListenAddress,
		NetcatActiveSidePortMin: d.NetcatActiveSidePortMin, NetcatActiveSidePortMax: d.NetcatActiveSidePortMax,
		NetcatPassiveSideConnectAddress: d.NetcatPassiveSideConnect, Sudo: d.Sudo, SourceDatasets: list(d.Sources), TargetDataset: d.Target,
		Recursive: d.Recursive, Exclude: list(d.Exclude), Properties: d.Properties, PropertiesExclude: list(d.PropertiesExclude),
		PropertiesOverride: object(d.PropertiesOverride), Replicate: d.Replicate, Encryption: d.Encryption, EncryptionInherit: d.EncryptionInherit,
		EncryptionKeyFormat: d.EncryptionKeyFormat, EncryptionKeyLocation: d.EncryptionKeyLocation, PeriodicSnapshotTasks: []any{},
		NamingSchema: list(d.NamingSchema), AlsoIncludeNamingSchema: list(d.AlsoIncludeSchema), NameRegex: d.NameRegex, Auto: d.Auto,
		Schedule: orNullJSON(d.Schedule), RestrictSchedule: orNullJSON(d.RestrictSchedule), OnlyMatchingSchedule: d.OnlyMatchingSchedule,
		AllowFromScratch: d.AllowFromScratch, Readonly: d.Readonly, HoldPendingSnapshots: d.HoldPendingSnapshots,
		RetentionPolicy: d.RetentionPolicy, LifetimeValue: d.LifetimeValue, LifetimeUnit: d.LifetimeUnit, Lifetimes: []any{},
		Compression: d.Compression, SpeedLimit: d.SpeedLimit, LargeBlock: d.LargeBlock, Embed: d.Embed, Compressed: d.Compressed,
		Retries: d.Retries, LoggingLevel: d.LoggingLevel, Enabled: d.Enabled, State: renderState(e.State), Job: x.job(e.State),
	}
	if e.State.Phase == tasks.Hold {
		o.Job = nil
	}
	return o
}

// renderState renders the state of a task (truenas-api.md 3.7).
func renderState(s tasks.State) map[string]any {
	o := map[string]any{"state": s.Phase}
	if s.Phase != tasks.Pending {
		o["datetime"] = rpc.Date(s.At)
	}
	switch s.Phase {
	case tasks.Finished:
		o["warnings"] = list(s.Warnings)
	case tasks.Failed:
		o["error"] = s.Error
	case tasks.Hold:
		o["reason"] = s.Reason
		return o
	case tasks.Running:
		if p := s.Progress; p != nil {
			_, snapshot, _ := strings.Cut(p.Snapshot, "@") // here without the dataset
			o["progress"] = map[string]any{
				"dataset": p.Dataset, "snapshot": snapshot, "snapshots_sent": p.Snapshots, "snapshots_total": p.SnapshotsTotal,
				"bytes_sent": p.Bytes, "bytes_total": p.Total, "current": p.Bytes, "total": p.Total,
			}
		}
	case tasks.Pending:
		return o
	}
	o["last_snapshot"] = orNull(s.LastSnapshot)
	return o
}

func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func object(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orNullJSON(v json.RawMessage) json.RawMessage {
	if len(v) == 0 {
		return json.RawMessage("null")
	}
	return v
}
