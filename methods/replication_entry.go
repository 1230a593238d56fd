package methods

import (
	"context"
	"encoding/json"

	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/tasks"
)

// replicationEntry is a task as clients see it (truenas-api.md 3.2).
type replicationEntry struct {
	ID int64 `json:"id"`
	taskFields
	replicationFields
	SSHCredentials          *credentialEntry `json:"ssh_credentials"` // shadows the id
	PeriodicSnapshotTasks   []any            `json:"periodic_snapshot_tasks"`
	State                   map[string]any   `json:"state"`
	Job                     *JobObject       `json:"job"`
	HasEncryptedDatasetKeys bool             `json:"has_encrypted_dataset_keys"`
}

func (x *Replications) render(ctx context.Context, e tasks.Entry, show bool) replicationEntry {
	d := &e.Definition
	o := replicationEntry{
		ID:                    e.ID,
		taskFields:            taskFields{Name: d.Name, Auto: d.Auto, Schedule: orNullJSON(d.Schedule), OnlyMatchingSchedule: d.OnlyMatchingSchedule, Enabled: d.Enabled},
		replicationFields:     renderFields(d),
		SSHCredentials:        x.connectionOf(ctx, d.SSHCredentials, show),
		PeriodicSnapshotTasks: []any{}, State: renderState(e.State), Job: x.job(e.State),
	}
	if e.State.Phase == tasks.Hold {
		o.Job = nil
	}
	return o
}

func renderFields(d *tasks.Definition) replicationFields {
	return replicationFields{
		Direction: d.Direction, Transport: d.Transport, Sudo: d.Sudo, SourceDatasets: d.Sources, TargetDataset: d.Target,
		Recursive: d.Recursive, NameRegex: d.NameRegex, Retries: int64(d.Retries), LoggingLevel: d.LoggingLevel,
		NetcatActiveSide: d.NetcatActiveSide, NetcatActiveSideListenAddress: d.NetcatActiveSideListenAddress,
		NetcatActiveSidePortMin: d.NetcatActiveSidePortMin, NetcatActiveSidePortMax: d.NetcatActiveSidePortMax,
		NetcatPassiveSideConnectAddress: d.NetcatPassiveSideConnect, Exclude: list(d.Exclude),
		Properties: d.Properties, PropertiesExclude: list(d.PropertiesExclude), PropertiesOverride: object(d.PropertiesOverride), Replicate: d.Replicate,
		Encryption: d.Encryption, EncryptionInherit: d.EncryptionInherit, EncryptionKeyFormat: d.EncryptionKeyFormat, EncryptionKeyLocation: d.EncryptionKeyLocation,
		NamingSchema: list(d.NamingSchema), AlsoIncludeNamingSchema: list(d.AlsoIncludeSchema), RestrictSchedule: orNullJSON(d.RestrictSchedule),
		AllowFromScratch: d.AllowFromScratch, Readonly: d.Readonly, HoldPendingSnapshots: d.HoldPendingSnapshots,
		RetentionPolicy: d.RetentionPolicy, LifetimeValue: d.LifetimeValue, LifetimeUnit: d.LifetimeUnit, Lifetimes: []json.RawMessage{},
		Compression: d.Compression, SpeedLimit: d.SpeedLimit, LargeBlock: d.LargeBlock, Embed: d.Embed, Compressed: d.Compressed,
	}
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
			o["progress"] = map[string]any{
				"dataset": p.Dataset, "snapshot": p.Snapshot, "snapshots_sent": p.Snapshots, "snapshots_total": p.SnapshotsTotal,
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
