package tasks

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/faults"
)

// bound has the snapshot tasks that the rules below name.
func bound() map[int64]SnapshotTask {
	return map[int64]SnapshotTask{
		1: {Dataset: "tank/data", Recursive: true, Enabled: true, Exclude: []string{"tank/data/it's", "tank/data"}},
		2: {Dataset: "tank", Recursive: false, Enabled: true},
		3: {Dataset: "tank/other", Recursive: true, Enabled: false},
	}
}

// full is a task that replicates a filesystem as a whole, which nothing is wrong with but what the engine does not do yet.
func full(d *Definition) {
	d.Replicate, d.Recursive, d.Properties, d.RetentionPolicy = true, true, true, SameAsSource
}

func once(d *Definition) { d.Schedule, d.Auto = json.RawMessage(`{"hour": "3"}`), true }

// netcat is a task over a connection without encryption.
func netcat(d *Definition) { d.Transport, d.NetcatActiveSide = Netcat, ptr("REMOTE") }

// TestRules_3_3 breaks each rule of truenas-api.md 3.3 on its own.
func TestRules_3_3(t *testing.T) {
	const (
		noSense  = "This field has no sense for specified retention policy"
		onlyCat  = "This field only has sense for SSH+netcat replication"
		key      = "This property is required when remote dataset encryption is enabled"
		required = "This field is required for custom retention policy"
		option   = "This option is required for full filesystem replication"
	)
	connection := Around{Connection: "[EFAULT] Decrypting credential nas2 failed"}
	tests := []struct {
		rule   int
		change func(d *Definition)
		around Around
		field  string
		text   string
	}{
		{rule: 1, change: func(*Definition) {}, around: Around{NameTaken: true}, field: "name", text: "Object with this name already exists"},
		{rule: 2, change: func(d *Definition) { d.SnapshotTasks = []int64{1, 9} }, field: "periodic_snapshot_tasks.1", text: "This snapshot task does not exist"},
		{rule: 3, change: func(d *Definition) { d.NamingSchema = []string{"a"} }, field: "naming_schema", text: "This field has no sense for push replication"},
		{rule: 4, change: func(d *Definition) { d.NameRegex = nil }, field: "periodic_snapshot_tasks", text: `You must at least either bind a periodic snapshot task or provide "Also Include Naming Schema" or "Name Regex" for push replication task`},
		{rule: 4, change: func(d *Definition) { d.NameRegex, d.SnapshotTasks = nil, []int64{9} }, field: "periodic_snapshot_tasks", text: `You must at least either bind a periodic snapshot task or provide "Also Include Naming Schema" or "Name Regex" for push replication task`},
		{rule: 5, change: func(d *Definition) { d.Auto = true }, field: "auto", text: "Push replication that runs automatically must be either bound to a periodic snapshot task or have a schedule"},
		{rule: 6, change: func(d *Definition) { d.Direction, d.Auto = Pull, true }, field: "auto", text: "Pull replication that runs automatically must have a schedule"},
		{rule: 7, change: func(d *Definition) { d.Direction, d.SnapshotTasks = Pull, []int64{1} }, field: "periodic_snapshot_tasks", text: "Pull replication can't be bound to a periodic snapshot task"},
		{rule: 8, change: func(d *Definition) { d.Direction, d.NameRegex = Pull, nil }, field: "naming_schema", text: "Naming schema or Name regex are required for pull replication"},
		{rule: 9, change: func(d *Definition) { d.Direction, d.AlsoIncludeSchema = Pull, []string{"a"} }, field: "also_include_naming_schema", text: "This field has no sense for pull replication"},
		{rule: 10, change: func(d *Definition) { d.Direction, d.HoldPendingSnapshots = Pull, true }, field: "hold_pending_snapshots", text: "Pull replication tasks can't hold pending snapshots because they don't do source retention"},
		{rule: 11, change: func(d *Definition) { d.Direction, d.NoPull = Pull, true }, field: "direction", text: "You don't have permissions to use PULL replication"},
		{rule: 12, change: func(d *Definition) { d.Transport = Netcat }, field: "netcat_active_side", text: "You must choose active side for SSH+netcat replication"},
		{rule: 13, change: func(d *Definition) {
			netcat(d)
			d.NetcatActiveSidePortMin, d.NetcatActiveSidePortMax = ptr[int64](9), ptr[int64](8)
		}, field: "netcat_active_side_port_max", text: "Please specify value greater than or equal to netcat_active_side_port_min"},
		{rule: 14, change: func(d *Definition) { netcat(d); d.Compression = ptr("LZ4") }, field: "compression", text: "Compression is not supported for SSH+netcat replication"},
		{rule: 15, change: func(d *Definition) { netcat(d); d.SpeedLimit = ptr[int64](1) }, field: "speed_limit", text: "Speed limit is not supported for SSH+netcat replication"},
		{rule: 16, change: func(d *Definition) { d.NetcatActiveSide = ptr("LOCAL") }, field: "netcat_active_side", text: onlyCat},
		{rule: 16, change: func(d *Definition) { d.NetcatActiveSideListenAddress = ptr("x") }, field: "netcat_active_side_listen_address", text: onlyCat},
		{rule: 16, change: func(d *Definition) { d.NetcatActiveSidePortMin = ptr[int64](1) }, field: "netcat_active_side_port_min", text: onlyCat},
		{rule: 16, change: func(d *Definition) { d.NetcatActiveSidePortMax = ptr[int64](1) }, field: "netcat_active_side_port_max", text: onlyCat},
		{rule: 16, change: func(d *Definition) { d.NetcatPassiveSideConnect = ptr("x") }, field: "netcat_passive_side_connect_address", text: onlyCat},
		{rule: 17, change: func(d *Definition) { d.Transport = Local }, field: "ssh_credentials", text: "Remote credentials have no sense for local replication"},
		{rule: 18, change: func(d *Definition) { d.Transport, d.Compression = Local, ptr("LZ4") }, field: "compression", text: "Compression has no sense for local replication"},
		{rule: 19, change: func(d *Definition) { d.Transport, d.SpeedLimit = Local, ptr[int64](1) }, field: "speed_limit", text: "Speed limit has no sense for local replication"},
		{rule: 20, change: func(d *Definition) { d.SSHCredentials = nil }, field: "ssh_credentials", text: "SSH Credentials are required for non-local replication"},
		{rule: 20, change: func(d *Definition) { netcat(d); d.SSHCredentials = nil }, field: "ssh_credentials", text: "SSH Credentials are required for non-local replication"},
		{rule: 21, change: func(*Definition) {}, around: connection, field: "ssh_credentials", text: connection.Connection},
		{rule: 22, change: func(d *Definition) { d.Recursive, d.SnapshotTasks, d.Exclude = true, []int64{1}, []string{"tank/data"} }, field: "exclude", text: `You should exclude "tank/data/it's" as bound periodic snapshot task dataset 'tank/data' does`},
		{rule: 23, change: func(d *Definition) { d.SnapshotTasks = []int64{1} }, field: "source_datasets.0", text: "Dataset 'tank/data' is excluded by bound periodic snapshot task for dataset 'tank/data'"},
		{rule: 24, change: func(d *Definition) { d.Exclude = []string{"tank/data/x"} }, field: "exclude", text: "Excluding child datasets is only supported for recursive replication"},
		{rule: 25, change: func(d *Definition) { d.Recursive, d.Exclude = true, []string{"tank/data/x", "tank/data"} }, field: "exclude.1", text: "This dataset is not a child of any of source datasets"},
		{rule: 25, change: func(d *Definition) { d.Recursive, d.Exclude = true, []string{"tank/database"} }, field: "exclude.0", text: "This dataset is not a child of any of source datasets"},
		{rule: 26, change: func(d *Definition) { full(d); d.Recursive = false }, field: "recursive", text: option},
		{rule: 27, change: func(d *Definition) { full(d); d.Exclude = []string{"tank/data/x"} }, field: "exclude", text: "This option is not supported for full filesystem replication"},
		{rule: 28, change: func(d *Definition) { full(d); d.Properties = false }, field: "properties", text: option},
		{rule: 29, change: func(d *Definition) { full(d); d.RetentionPolicy = NoRetention }, field: "retention_policy", text: "Only `Same as Source` retention policy can be used for full filesystem replication"},
		{rule: 30, change: func(d *Definition) { full(d); d.Sources = []string{"tank/data", "tank/data/x"} }, field: "source_datasets.1", text: "Replication task that replicates the entire filesystem can't replicate both 'tank/data' and its child 'tank/data/x'"},
		{rule: 31, change: func(d *Definition) { full(d); d.SnapshotTasks = []int64{1, 2} }, field: "periodic_snapshot_tasks.1", text: "Replication tasks that replicate the entire filesystem can only use periodic snapshot tasks that take recursive snapshots of the dataset being replicated (or its ancestor)"},
		{rule: 31, change: func(d *Definition) { full(d); d.SnapshotTasks = []int64{3} }, field: "periodic_snapshot_tasks.0", text: "Replication tasks that replicate the entire filesystem can only use periodic snapshot tasks that take recursive snapshots of the dataset being replicated (or its ancestor)"},
		{rule: 32, change: func(d *Definition) { d.Encryption = true }, field: "encryption_key", text: key},
		{rule: 32, change: func(d *Definition) { d.Encryption, d.EncryptionInherit = true, ptr(false) }, field: "encryption_key_format", text: key},
		{rule: 32, change: func(d *Definition) { d.Encryption = true }, field: "encryption_key_location", text: key},
		{rule: 33, change: func(d *Definition) { d.Schedule = json.RawMessage("{}") }, field: "schedule", text: "You can't have schedule for replication that does not run automatically"},
		{rule: 34, change: func(d *Definition) {
			d.OnlyMatchingSchedule, d.RestrictSchedule = true, json.RawMessage("{}")
		}, field: "only_matching_schedule", text: "You can't have only-matching-schedule without schedule"},
		{rule: 35, change: func(d *Definition) { d.NameRegex = ptr("auto-(") }, field: "name_regex", text: "Invalid regex: "},
		{rule: 36, change: func(d *Definition) { d.SnapshotTasks = []int64{2} }, field: "name_regex", text: "Naming regex can't be used with periodic snapshot tasks"},
		{rule: 37, change: func(d *Definition) { d.AlsoIncludeSchema = []string{"a"} }, field: "name_regex", text: "Naming regex can't be used with Naming schema"},
		{rule: 38, change: func(d *Definition) { d.RetentionPolicy = Custom }, field: "retention_policy", text: "Only `Same as Source` and `None` retention policies can be used with Naming regex"},
		{rule: 39, change: func(d *Definition) { d.RetentionPolicy = Custom }, field: "lifetime_value", text: required},
		{rule: 39, change: func(d *Definition) { d.RetentionPolicy, d.LifetimeValue = Custom, ptr[int64](1) }, field: "lifetime_unit", text: required},
		{rule: 40, change: func(d *Definition) { d.LifetimeValue = ptr[int64](1) }, field: "lifetime_value", text: noSense},
		{rule: 40, change: func(d *Definition) { d.RetentionPolicy, d.LifetimeUnit = SameAsSource, ptr("DAY") }, field: "lifetime_unit", text: noSense},
		{rule: 40, change: func(d *Definition) { d.Lifetimes = json.RawMessage("[{}]") }, field: "lifetimes", text: noSense},
		{rule: 41, change: func(d *Definition) { d.SnapshotTasks = []int64{1, 3} }, field: "periodic_snapshot_tasks.1", text: "You can't bind disabled periodic snapshot task to enabled replication task"},
	}
	tried := make(map[int]bool)
	for i, tt := range tests {
		tried[tt.rule] = true
		t.Run(fmt.Sprintf("3.3 rule %d, case %d", tt.rule, i), func(t *testing.T) {
			d := plain()
			tt.change(&d)
			if tt.around.SnapshotTasks == nil {
				tt.around.SnapshotTasks = bound()
			}
			got := d.Check(tt.around)
			if !slices.ContainsFunc(got, func(f faults.Fault) bool {
				return f.Field == tt.field && (f.Text == tt.text || strings.HasSuffix(tt.text, ": ") && strings.HasPrefix(f.Text, tt.text))
			}) {
				t.Errorf("faults %q lack %s: %s", got, tt.field, tt.text)
			}
		})
	}
	for rule := 1; rule <= 41; rule++ {
		if !tried[rule] {
			t.Errorf("rule %d is not tried", rule)
		}
	}
}

// TestRulesKept_3_3 has definitions that keep the rules narrowly: only what the engine does not do yet is refused.
func TestRulesKept_3_3(t *testing.T) {
	tests := map[string]func(d *Definition){
		"5: bound and automatic": func(d *Definition) {
			d.NameRegex, d.Auto, d.SnapshotTasks = nil, true, []int64{2}
		},
		"6: pull with a schedule": func(d *Definition) { once(d); d.Direction = Pull },
		"13: one port": func(d *Definition) {
			netcat(d)
			d.NetcatActiveSidePortMin, d.NetcatActiveSidePortMax = ptr[int64](9), ptr[int64](9)
		},
		"22: excluded here too":             func(d *Definition) { d.Recursive, d.Exclude = true, []string{"tank/data/x"} },
		"26 to 31":                          full,
		"32: the key is inherited":          func(d *Definition) { d.Encryption, d.EncryptionInherit = true, ptr(true) },
		"34: only at times of the schedule": func(d *Definition) { once(d); d.OnlyMatchingSchedule = true },
		"35: Python's names":                func(d *Definition) { d.NameRegex = ptr(`(?P<day>\d+)-(?=x)x`) },
		"39: custom": func(d *Definition) {
			d.NameRegex, d.AlsoIncludeSchema, d.RetentionPolicy = nil, []string{"auto-%Y"}, Custom
			d.LifetimeValue, d.LifetimeUnit = ptr[int64](2), ptr("WEEK")
		},
		"41: a disabled task may be bound to a disabled one": func(d *Definition) {
			d.NameRegex, d.Enabled, d.SnapshotTasks = nil, false, []int64{3}
		},
	}
	for name, change := range tests {
		t.Run("3.3 rule "+name, func(t *testing.T) {
			d := plain()
			change(&d)
			for _, f := range d.Check(Around{SnapshotTasks: bound()}) {
				if !strings.HasPrefix(f.Text, "This version of zferry does not support this: ") {
					t.Errorf("refused: %s: %s", f.Field, f.Text)
				}
			}
		})
	}
}

// TestRulesInOrder_3_3 breaks many at once: all are told, in the order of 3.3.
func TestRulesInOrder_3_3(t *testing.T) {
	d := plain()
	d.SnapshotTasks, d.NamingSchema, d.Exclude = []int64{9, 3, 1}, []string{"a"}, []string{"x"}
	d.Replicate, d.Encryption, d.OnlyMatchingSchedule, d.Auto = true, true, true, true
	d.LifetimeValue, d.SSHCredentials, d.NetcatActiveSide = ptr[int64](1), nil, ptr("LOCAL")
	var got []string
	for _, f := range d.Check(Around{NameTaken: true, SnapshotTasks: bound()}) {
		if !strings.HasPrefix(f.Text, "This version of zferry does not support this: ") {
			got = append(got, f.Field)
		}
	}
	want := []string{
		"name", "periodic_snapshot_tasks.0", "naming_schema", "netcat_active_side", "ssh_credentials", "source_datasets.0", "exclude", "exclude.0",
		"recursive", "exclude", "properties", "retention_policy", "periodic_snapshot_tasks.1", "encryption_key", "encryption_key_format",
		"encryption_key_location", "only_matching_schedule", "name_regex", "name_regex", "lifetime_value", "periodic_snapshot_tasks.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// TestQuoted holds that names are shown as Python shows them.
func TestQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"tank/a": `'tank/a'`, "it's": `"it's"`, `a"b`: `'a"b'`, `a'b"c`: `'a\'b"c'`, `a\b`: `'a\\b'`, "a\nb": `'a\nb'`,
	} {
		if got := quoted(name); got != want {
			t.Errorf("quoted(%q) = %s, want %s", name, got, want)
		}
	}
}
