package tasks

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/replication"
)

// TestSizes holds the sizes of 5.7: binary units with two decimals, plain bytes below.
func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 512: "512 bytes", 1023: "1023 bytes", 1024: "1.00 KiB", 1536: "1.50 KiB", 1572864: "1.50 MiB",
		1 << 30: "1.00 GiB", 1<<40 + 1<<38: "1.25 TiB", 1 << 50: "1.00 PiB", 1 << 62: "4096.00 PiB",
	} {
		if got := size(n); got != want {
			t.Errorf("5.7: %d is %q, want %q", n, got, want)
		}
	}
}

// TestJobProgress holds the progress text of 5.7, and the percentage by bytes (decisions 18).
func TestJobProgress(t *testing.T) {
	const ds, snap = "tank/data", "tank/data@two"
	tests := []struct {
		name    string
		p       replication.Progress
		percent int
		text    string
	}{
		{"before the first snapshot", replication.Progress{Total: 10, SnapshotsTotal: 2}, 0, ""},
		{"before the first byte", replication.Progress{Dataset: ds, Snapshot: snap, Total: 3 << 20, SnapshotsTotal: 2}, 0, "Sending 1 of 2: tank/data@two"},
		{
			"with bytes",
			replication.Progress{Dataset: ds, Snapshot: snap, Bytes: 3 << 19, Total: 3 << 20, SnapshotsTotal: 2},
			50, "Sending 1 of 2: tank/data@two (1.50 MiB / 3.00 MiB)",
		},
		{
			"truncated",
			replication.Progress{Dataset: ds, Snapshot: snap, Bytes: 999, Total: 1000, Snapshots: 1, SnapshotsTotal: 2},
			99, "Sending 2 of 2: tank/data@two (999 bytes / 1000 bytes)",
		},
		{
			"at the end",
			replication.Progress{Dataset: ds, Snapshot: snap, Bytes: 1000, Total: 1000, Snapshots: 2, SnapshotsTotal: 2},
			100, "Sending 2 of 2: tank/data@two (1000 bytes / 1000 bytes)",
		},
		{"no total", replication.Progress{Dataset: ds, Snapshot: snap, SnapshotsTotal: 1}, 0, "Sending 1 of 1: tank/data@two"},
		{
			"large",
			replication.Progress{Dataset: ds, Snapshot: snap, Bytes: 1 << 55, Total: 1 << 56, SnapshotsTotal: 1},
			50, "Sending 1 of 1: tank/data@two (32.00 PiB / 64.00 PiB)",
		},
	}
	for _, tt := range tests {
		t.Run("5.7: "+tt.name, func(t *testing.T) {
			got := jobProgress(tt.p)
			if got.Description != tt.text || *got.Percent != tt.percent {
				t.Errorf("%d %% %q, want %d %% %q", *got.Percent, got.Description, tt.percent, tt.text)
			}
		})
	}
}

// TestJobProgressExtra holds what docs/host-protocol.md says of progress.extra.
func TestJobProgressExtra(t *testing.T) {
	p := replication.Progress{
		Dataset: "tank/data", Snapshot: "tank/data@two", Snapshots: 1, SnapshotsTotal: 2, Bytes: 3, Total: 4, Rate: 5,
		Left: 1500 * time.Millisecond, Elapsed: 2 * time.Second,
	}
	const want = `{"dataset":"tank/data","snapshot":"tank/data@two","snapshots_sent":1,"snapshots_total":2,"bytes_sent":3,"bytes_total":4,"rate":5,"left":1.5,"elapsed":2}`
	if got := string(jobProgress(p).Extra); got != want {
		t.Errorf("extra %s, want %s", got, want)
	}
	p.Left = -1
	var extra Extra
	if err := json.Unmarshal(jobProgress(p).Extra, &extra); err != nil || extra.Left != -1 {
		t.Errorf("an unknown time left is %v, %v, want -1", extra.Left, err)
	}
}

// TestPause holds the sleeps of 5.7, and that no number of attempts makes them short again.
func TestPause(t *testing.T) {
	for wasted, want := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 16 * time.Second,
		6: 32 * time.Second, 7: time.Minute, 8: time.Minute, 35: time.Minute, 64: time.Minute, 1 << 40: time.Minute,
	} {
		if got := pause(wasted); got != want {
			t.Errorf("5.7: after %d attempts without progress %v, want %v", wasted, got, want)
		}
	}
}

func TestSentences(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "job aborted": "job aborted.", "It failed.": "It failed.", " spaces \n": "spaces.", "one\ntwo": "one\ntwo.",
	} {
		if got := sentence(errors.New(text)); got != want {
			t.Errorf("5.7: %q becomes %q, want %q", text, got, want)
		}
	}
}

// TestStateThatCannotBeRead holds that a state is always one (truenas-api.md 10 item 34).
func TestStateThatCannotBeRead(t *testing.T) {
	for _, data := range []string{"", "null", "{}", `{"last_snapshot":"a@b"}`, "nonsense", "[]"} {
		if got := decodeState([]byte(data)); got.Phase != Pending {
			t.Errorf("%q is %+v", data, got)
		}
	}
	want := State{Phase: Finished, At: time.Unix(1000, 0).UTC(), Warnings: []string{"w"}, LastSnapshot: "a@b", Job: 7}
	data, err := encodeState(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, decodeState(data)); diff != "" {
		t.Errorf("state (-kept +read):\n%s", diff)
	}
}

// TestCheckOrder holds that faults come in the order of 3.3, whatever is wrong, and our own after them.
func TestCheckOrder(t *testing.T) {
	tests := []struct {
		name   string
		change func(d *Definition)
		want   []string
	}{
		{"local pull", func(d *Definition) {
			d.Direction, d.NoPull, d.Transport = Pull, true, Local
			d.NamingSchema, d.NetcatActiveSide, d.NetcatPassiveSideConnect = []string{"a"}, ptr("LOCAL"), ptr("x")
			d.NetcatActiveSideListenAddress, d.NetcatActiveSidePortMin, d.NetcatActiveSidePortMax = ptr("x"), ptr[int64](1), ptr[int64](2)
			d.Compression, d.SpeedLimit, d.Target, d.Auto = ptr("LZ4"), ptr[int64](1), "tank/data/x", true
		}, []string{
			"auto", "direction", "netcat_active_side", "netcat_active_side_listen_address", "netcat_active_side_port_min", "netcat_active_side_port_max",
			"netcat_passive_side_connect_address", "ssh_credentials", "compression", "speed_limit", "name_regex", "target_dataset",
			"naming_schema",
		}},
		{"push without a selection", func(d *Definition) {
			d.NameRegex, d.NetcatActiveSide, d.SSHCredentials = nil, ptr("LOCAL"), nil
		}, []string{"periodic_snapshot_tasks", "netcat_active_side", "ssh_credentials"}},
		{"pull without a selection nor the role", func(d *Definition) {
			d.NameRegex, d.Direction, d.NoPull = nil, Pull, true
		}, []string{"naming_schema", "direction"}},
		{"netcat fields have sense for netcat (rule 16)", func(d *Definition) {
			d.Transport, d.NetcatActiveSide = "SSH+NETCAT", ptr("LOCAL")
		}, []string{"transport"}},
	}
	for _, tt := range tests {
		t.Run("3.3: "+tt.name, func(t *testing.T) {
			d := plain()
			tt.change(&d)
			var got []string
			for _, f := range d.Check(Around{}) {
				got = append(got, f.Field)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCheckTexts holds the texts of 3.3 that TestCheckRules does not.
func TestCheckTexts(t *testing.T) {
	netcat := "This field only has sense for SSH+netcat replication"
	tests := []struct {
		rule   string
		change func(d *Definition)
		fault  string // of the connection
		want   faults.Fault
	}{
		{"11", func(d *Definition) { d.Direction, d.NoPull = Pull, true }, "", faults.Fault{Field: "direction", Text: "You don't have permissions to use PULL replication"}},
		{"16", func(d *Definition) { d.NetcatActiveSideListenAddress = ptr("") }, "", faults.Fault{Field: "netcat_active_side_listen_address", Text: netcat}},
		{"16", func(d *Definition) { d.NetcatActiveSidePortMin = ptr[int64](1) }, "", faults.Fault{Field: "netcat_active_side_port_min", Text: netcat}},
		{"16", func(d *Definition) { d.NetcatActiveSidePortMax = ptr[int64](1) }, "", faults.Fault{Field: "netcat_active_side_port_max", Text: netcat}},
		{"16", func(d *Definition) { d.NetcatPassiveSideConnect = ptr("x") }, "", faults.Fault{Field: "netcat_passive_side_connect_address", Text: netcat}},
		{"18", func(d *Definition) { d.Transport, d.SSHCredentials, d.Compression = Local, nil, ptr("LZ4") }, "", faults.Fault{Field: "compression", Text: "Compression has no sense for local replication"}},
		{"19", func(d *Definition) { d.Transport, d.SSHCredentials, d.SpeedLimit = Local, nil, ptr[int64](1) }, "", faults.Fault{Field: "speed_limit", Text: "Speed limit has no sense for local replication"}},
		{"21", func(*Definition) {}, "[ENOENT] Credential does not exist", faults.Fault{Field: "ssh_credentials", Text: "[ENOENT] Credential does not exist"}},
		{"37", func(d *Definition) { d.Direction, d.NamingSchema = Pull, []string{"a"} }, "", faults.Fault{Field: "name_regex", Text: "Naming regex can't be used with Naming schema"}},
	}
	for _, tt := range tests {
		t.Run("3.3 rule "+tt.rule, func(t *testing.T) {
			d := plain()
			tt.change(&d)
			if got := d.Check(Around{Connection: tt.fault}); len(got) == 0 || got[0] != tt.want {
				t.Errorf("faults %v, want %v first", got, tt.want)
			}
		})
	}
	d := plain()
	d.Direction, d.Compression, d.SpeedLimit = Pull, nil, nil
	if got := d.Check(Around{}); len(got) > 0 {
		t.Errorf("a pull with the role is refused: %v", got)
	}
	// decisions 16: equal and nested either way for LOCAL only.
	for _, pair := range [][2]string{{"tank/data", "tank/data"}, {"tank", "tank/data"}, {"tank/data/sub", "tank/data"}} {
		d := plain()
		d.Sources, d.Target = []string{pair[0]}, pair[1]
		if got := d.Check(Around{}); len(got) > 0 {
			t.Errorf("decisions 16: over SSH %v is refused: %v", pair, got)
		}
		d.Transport, d.SSHCredentials = Local, nil
		if got := d.Check(Around{}); len(got) != 1 || got[0].Field != "target_dataset" {
			t.Errorf("decisions 16: here %v gives %v", pair, got)
		}
	}
	d = plain()
	d.Transport, d.SSHCredentials, d.Sources, d.Target = Local, nil, []string{"tank/data"}, "tank/database"
	if got := d.Check(Around{}); len(got) > 0 {
		t.Errorf("decisions 16: neighbours are refused: %v", got)
	}
}

// TestKeys holds that only keys of our own name a task.
func TestKeys(t *testing.T) {
	s := &Service{}
	if Key(7) != "replication:7" {
		t.Errorf("key %q", Key(7))
	}
	if task, again, err := s.Again(t.Context(), jobs.Job{ID: 3, Key: "other:7"}); task != 0 || again || err != nil {
		t.Errorf("a job of another kind: %d, %v, %v", task, again, err)
	}
	if _, again, err := s.Again(t.Context(), jobs.Job{ID: 3, Key: "replication:x"}); again || err == nil {
		t.Errorf("a key that cannot be read: %v, %v", again, err)
	}
}

// TestWarnings holds how much of the warnings of a run its state keeps: a log has them all.
func TestWarnings(t *testing.T) {
	var all []string
	for range 3 * maxWarnings {
		all = addWarning(all, "w")
	}
	if n := len(all); n != maxWarnings+1 || all[n-2] != "w" || all[n-1] != "There are more warnings: see the log of the job." {
		t.Errorf("%d warnings, the last is %q", n, all[n-1])
	}
	// A long one is cut, and not in the middle of a character.
	long := addWarning(nil, strings.Repeat("x", maxWarning-1)+"ä"+"y")[0]
	if want := strings.Repeat("x", maxWarning-1) + "…"; long != want {
		t.Errorf("a long one ends in %q", long[maxWarning-10:])
	}
	exact := strings.Repeat("x", maxWarning)
	if got := addWarning(nil, exact)[0]; got != exact {
		t.Errorf("one that fits is cut to %d bytes", len(got))
	}
}
