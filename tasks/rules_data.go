package tasks

import (
	"slices"
	"strings"

	"github.com/zferry/zferry/zfs"
)

// sources holds rules 22 to 25.
func (r *rules) sources() {
	for i, source := range r.Sources {
		for _, t := range r.bound {
			if nested(source, t.Dataset) {
				r.excludedByTask(i, source, t.SnapshotTask)
			}
		}
	}
	if len(r.Exclude) > 0 && !r.Recursive {
		r.bad.Addf("exclude", "Excluding child datasets is only supported for recursive replication")
	}
	for i, dataset := range r.Exclude {
		below := func(source string) bool { return strings.HasPrefix(dataset, source+"/") }
		if !slices.ContainsFunc(r.Sources, below) {
			r.bad.Addf("exclude."+itoa(i), "This dataset is not a child of any of source datasets")
		}
	}
}

// excludedByTask holds rules 22 and 23: what a snapshot task passes over has no snapshots to replicate.
func (r *rules) excludedByTask(i int, source string, t SnapshotTask) {
	if !r.Recursive {
		if slices.Contains(t.Exclude, source) {
			r.bad.Addf("source_datasets."+itoa(i), "Dataset %s is excluded by bound periodic snapshot task for dataset %s", quoted(source), quoted(t.Dataset))
		}
		return
	}
	for _, x := range t.Exclude {
		if nested(x, source) && !slices.Contains(r.Exclude, x) {
			r.bad.Addf("exclude", "You should exclude %s as bound periodic snapshot task dataset %s does", quoted(x), quoted(t.Dataset))
		}
	}
}

// fullFilesystem holds rules 26 to 31.
func (r *rules) fullFilesystem() {
	if !r.Replicate {
		return
	}
	if !r.Recursive {
		r.bad.Addf("recursive", "This option is required for full filesystem replication")
	}
	if len(r.Exclude) > 0 {
		r.bad.Addf("exclude", "This option is not supported for full filesystem replication")
	}
	if !r.Properties {
		r.bad.Addf("properties", "This option is required for full filesystem replication")
	}
	if r.RetentionPolicy != SameAsSource {
		r.bad.Addf("retention_policy", "Only `Same as Source` retention policy can be used for full filesystem replication")
	}
	for i, source := range r.Sources {
		for j, other := range r.Sources {
			if i != j && nested(source, other) {
				r.bad.Addf("source_datasets."+itoa(i), "Replication task that replicates the entire filesystem can't replicate both %s and its child %s", quoted(other), quoted(source))
			}
		}
	}
	for _, t := range r.bound {
		covered := func(source string) bool { return nested(source, t.Dataset) }
		if !t.Recursive || !slices.ContainsFunc(r.Sources, covered) {
			r.bad.Addf("periodic_snapshot_tasks."+itoa(t.index), "Replication tasks that replicate the entire filesystem can only use periodic snapshot tasks that take recursive snapshots of the dataset being replicated (or its ancestor)")
		}
	}
}

// encryption is rule 32.
func (r *rules) encryption() {
	if !r.Encryption || r.EncryptionInherit != nil && *r.EncryptionInherit {
		return
	}
	for _, f := range []struct {
		field string
		value *string
	}{
		{"encryption_key", r.EncryptionKey},
		{"encryption_key_format", r.EncryptionKeyFormat},
		{"encryption_key_location", r.EncryptionKeyLocation},
	} {
		if f.value == nil {
			r.bad.Addf(f.field, "This property is required when remote dataset encryption is enabled")
		}
	}
}

// schedules holds rules 33 and 34.
func (r *rules) schedules() {
	if isSet(r.Schedule) && !r.Auto {
		r.bad.Addf("schedule", "You can't have schedule for replication that does not run automatically")
	}
	if r.OnlyMatchingSchedule && !isSet(r.Schedule) {
		r.bad.Addf("only_matching_schedule", "You can't have only-matching-schedule without schedule")
	}
}

// The retention policies of a task.
const (
	SameAsSource = "SOURCE"
	Custom       = "CUSTOM"
	NoRetention  = "NONE"
)

// retention holds rules 38 to 40.
func (r *rules) retention() {
	if r.RetentionPolicy == Custom {
		if r.NameRegex != nil {
			r.bad.Addf("retention_policy", "Only `Same as Source` and `None` retention policies can be used with Naming regex")
		}
		const required = "This field is required for custom retention policy"
		if r.LifetimeValue == nil {
			r.bad.Addf("lifetime_value", required)
		}
		if r.LifetimeUnit == nil {
			r.bad.Addf("lifetime_unit", required)
		}
		return
	}
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"lifetime_value", r.LifetimeValue != nil},
		{"lifetime_unit", r.LifetimeUnit != nil},
		{"lifetimes", isSet(r.Lifetimes)},
	} {
		if f.set {
			r.bad.Addf(f.field, "This field has no sense for specified retention policy")
		}
	}
}

// disabled is rule 41.
func (r *rules) disabled() {
	for _, t := range r.bound {
		if r.Enabled && !t.Enabled {
			r.bad.Addf("periodic_snapshot_tasks."+itoa(t.index), "You can't bind disabled periodic snapshot task to enabled replication task")
		}
	}
}

// names holds our own rules: names that ZFS takes, and no tree into itself (decisions 16).
func (r *rules) names() {
	for i, s := range r.Sources {
		if err := zfs.ValidName(s); err != nil {
			r.bad.Addf("source_datasets."+itoa(i), "%s", sentence(err))
		}
	}
	if err := zfs.ValidName(r.Target); err != nil {
		r.bad.Addf("target_dataset", "%s", sentence(err))
		return
	}
	for _, s := range r.Sources {
		if !r.Remote() && (nested(s, r.Target) || nested(r.Target, s)) {
			r.bad.Addf("target_dataset", "Target '%s' and source '%s' are the same dataset or one lies inside the other. Choose a target outside the source", r.Target, s)
		}
	}
}

// quoted is a name as Python shows it.
func quoted(name string) string {
	quote := "'"
	if strings.Contains(name, "'") && !strings.Contains(name, `"`) {
		quote = `"`
	}
	escape := strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	return quote + escape.Replace(name) + quote
}
