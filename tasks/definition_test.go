package tasks

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/faults"
)

func ptr[T any](v T) *T { return &v }

// plain is a task that nothing is wrong with.
func plain() Definition {
	return Definition{
		Name: "nightly", Direction: Push, Transport: SSH, SSHCredentials: ptr[int64](1), Sources: []string{"tank/data"},
		Target: "backup/data", NameRegex: ptr(Everything), Retries: 5, Readonly: "IGNORE", RetentionPolicy: "NONE",
		LargeBlock: true, Compressed: true, Enabled: true,
	}
}

func TestCheckRules(t *testing.T) {
	tests := []struct {
		name   string
		change func(d *Definition)
		want   faults.List // nil: nothing is wrong
	}{
		{name: "plain", change: func(*Definition) {}},
		{name: "local", change: func(d *Definition) { d.Transport, d.SSHCredentials = Local, nil }},
		{
			name: "3.3 rule 4: push without a selection", change: func(d *Definition) { d.NameRegex = nil },
			want: faults.List{{Field: "periodic_snapshot_tasks", Text: `You must at least either bind a periodic snapshot task or provide "Also Include Naming Schema" or "Name Regex" for push replication task`}},
		},
		{
			name: "3.3 rule 8: pull without a selection", change: func(d *Definition) { d.Direction, d.NameRegex = Pull, nil },
			want: faults.List{{Field: "naming_schema", Text: "Naming schema or Name regex are required for pull replication"}},
		},
		{
			name: "3.3 rule 16: netcat fields", change: func(d *Definition) { d.NetcatActiveSide = ptr("LOCAL") },
			want: faults.List{{Field: "netcat_active_side", Text: "This field only has sense for SSH+netcat replication"}},
		},
		{
			name: "3.3 rules 17 and 19: local", change: func(d *Definition) { d.Transport, d.SpeedLimit = Local, ptr[int64](1) },
			want: faults.List{
				{Field: "ssh_credentials", Text: "Remote credentials have no sense for local replication"},
				{Field: "speed_limit", Text: "Speed limit has no sense for local replication"},
			},
		},
		{
			name: "3.3 rule 20: no credentials", change: func(d *Definition) { d.SSHCredentials = nil },
			want: faults.List{{Field: "ssh_credentials", Text: "SSH Credentials are required for non-local replication"}},
		},
		{
			name: "decisions 16: nested", change: func(d *Definition) {
				d.Transport, d.SSHCredentials, d.Target = Local, nil, "tank/data/copy"
			},
			want: faults.List{{Field: "target_dataset", Text: "Target 'tank/data/copy' and source 'tank/data' are the same dataset or one lies inside the other. Choose a target outside the source"}},
		},
		{
			name: "decisions 20: names", change: func(d *Definition) { d.Sources, d.Target = []string{"tank/a*"}, "-x" },
			want: faults.List{
				{Field: "source_datasets.0", Text: `invalid name "tank/a*": '*' is no character of a name.`},
				{Field: "target_dataset", Text: `invalid name "-x": it would be taken for an option.`},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := plain()
			tt.change(&d)
			got := d.Check(Around{})
			for i := range min(len(got), len(tt.want)) {
				// What zfs says of a character is package zfs's matter.
				if strings.HasPrefix(got[i].Text, "invalid name") && strings.HasPrefix(tt.want[i].Text, "invalid name") {
					got[i].Text, tt.want[i].Text = "", ""
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// custom is retention that a task defines itself.
func custom(d *Definition) {
	d.NameRegex, d.AlsoIncludeSchema, d.RetentionPolicy = nil, []string{"auto-%Y"}, Custom
	d.LifetimeValue, d.LifetimeUnit = ptr[int64](2), ptr("WEEK")
}

// TestBeyondIsRefusedByName sets every field that the engine does not honour yet, one after the other.
func TestBeyondIsRefusedByName(t *testing.T) {
	tests := map[string]func(d *Definition){
		"transport":                   netcat,
		"source_datasets":             func(d *Definition) { d.Sources = []string{"tank/a", "tank/b"} },
		"exclude":                     func(d *Definition) { d.Recursive, d.Exclude = true, []string{"tank/data/x"} },
		"properties":                  func(d *Definition) { d.Properties = true },
		"properties_exclude":          func(d *Definition) { d.PropertiesExclude = []string{"quota"} },
		"properties_override":         func(d *Definition) { d.PropertiesOverride = map[string]string{"quota": "1"} },
		"replicate":                   full,
		"encryption":                  func(d *Definition) { d.Encryption, d.EncryptionInherit = true, ptr(true) },
		"encryption_inherit":          func(d *Definition) { d.EncryptionInherit = ptr(true) },
		"encryption_key":              func(d *Definition) { d.EncryptionKey = ptr("secret") },
		"encryption_key_format":       func(d *Definition) { d.EncryptionKeyFormat = ptr("HEX") },
		"encryption_key_location":     func(d *Definition) { d.EncryptionKeyLocation = ptr("/k") },
		"periodic_snapshot_tasks":     func(d *Definition) { d.NameRegex, d.SnapshotTasks = nil, []int64{2} },
		"naming_schema":               func(d *Definition) { d.Direction, d.NameRegex, d.NamingSchema = Pull, nil, []string{"a"} },
		"also_include_naming_schema":  func(d *Definition) { d.NameRegex, d.AlsoIncludeSchema = nil, []string{"a"} },
		"name_regex":                  func(d *Definition) { d.NameRegex = ptr("auto-.*") },
		"auto":                        once,
		"schedule":                    once,
		"restrict_schedule":           func(d *Definition) { d.RestrictSchedule = json.RawMessage(`{}`) },
		"only_matching_schedule":      func(d *Definition) { once(d); d.OnlyMatchingSchedule = true },
		"allow_from_scratch":          func(d *Definition) { d.AllowFromScratch = true },
		"only_from_scratch":           func(d *Definition) { d.OnlyFromScratch = true },
		"exclude_mountpoint_property": func(d *Definition) { d.OneTime, d.ExcludeMountpoint = true, false },
		"mount":                       func(d *Definition) { d.OneTime, d.ExcludeMountpoint, d.MountAfterwards = true, true, true },
		"readonly":                    func(d *Definition) { d.Readonly = "SET" },
		"hold_pending_snapshots":      func(d *Definition) { d.HoldPendingSnapshots = true },
		"retention_policy":            func(d *Definition) { d.RetentionPolicy = "SOURCE" },
		"lifetime_value":              custom,
		"lifetime_unit":               custom,
		"lifetimes":                   func(d *Definition) { custom(d); d.Lifetimes = json.RawMessage(`[{}]`) },
		"compression":                 func(d *Definition) { d.Compression = ptr("LZ4") },
		"speed_limit":                 func(d *Definition) { d.SpeedLimit = ptr[int64](1) },
		"large_block":                 func(d *Definition) { d.LargeBlock = false },
		"embed":                       func(d *Definition) { d.Embed = true },
		"compressed":                  func(d *Definition) { d.Compressed = false },
	}
	d := plain()
	for _, w := range d.beyond() {
		if tests[w.field] == nil {
			t.Errorf("%s is not tried", w.field)
		}
	}
	for field, change := range tests {
		t.Run(field, func(t *testing.T) {
			d := plain()
			change(&d)
			got := d.Check(Around{SnapshotTasks: bound()})
			named := 0
			for _, f := range got {
				if f.Field == field {
					named++
				}
				// Rules of 3.3 have some fields come together.
				asked := slices.ContainsFunc(d.beyond(), func(w wish) bool { return w.asked && w.field == f.Field })
				if !asked || !strings.HasPrefix(f.Text, "This version of zferry does not support this: ") {
					t.Errorf("%s: %s", f.Field, f.Text)
				}
			}
			if named != 1 {
				t.Errorf("the field is named %d times: %v", named, got)
			}
			if strings.Contains(got.Error(), "secret") {
				t.Errorf("the secret is shown: %v", got)
			}
		})
	}
}
