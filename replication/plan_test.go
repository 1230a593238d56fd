package replication

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/zfs"
)

// guid gives each snapshot label one GUID, the same on both sides.
func guid(label string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(label))
	return h.Sum64()
}

// listing builds what a side holds. Each line is a dataset with its snapshots in order, "name[ flag…]: s1 s2=label #b1=label".
// A snapshot's GUID comes from its label, which is its name if none is given. Flags: volume, encrypted, partial,
// token=NAME, written=N.
func listing(lines ...string) Listing {
	l := Listing{Tokens: map[string]TokenState{}}
	txg := uint64(1000)
	for _, line := range lines {
		head, snaps, _ := strings.Cut(line, ":")
		words := strings.Fields(head)
		d := zfs.Dataset{Name: words[0], Type: zfs.Filesystem, Encryption: "off", Available: 1 << 40}
		for _, flag := range words[1:] {
			key, value, _ := strings.Cut(flag, "=")
			switch key {
			case "volume":
				d.Type = zfs.Volume
			case "encrypted":
				d.Encryption = "aes-256-gcm"
			case "partial":
				d.Inconsistent = true
			case "token":
				d.ResumeToken = value
			case "written":
				_, _ = fmt.Sscan(value, &d.Written)
			}
		}
		l.Datasets = append(l.Datasets, d)
		for _, word := range strings.Fields(snaps) {
			name, label, ok := strings.Cut(word, "=")
			if !ok {
				label = name
			}
			txg++
			s := zfs.Snapshot{Dataset: d.Name, Name: strings.TrimPrefix(name, "#"), Bookmark: name[0] == '#', GUID: guid(label), CreateTXG: txg}
			l.Snapshots = append(l.Snapshots, s)
		}
	}
	return l
}

// show renders a plan in a form that is easy to compare.
func show(p *Plan) []string {
	var out []string
	for _, c := range p.Create {
		out = append(out, "create "+c)
	}
	for _, d := range p.Datasets {
		if d.Discard {
			out = append(out, "discard "+d.Target)
		}
		if d.Rollback != "" {
			out = append(out, "rollback "+d.Rollback)
		}
		for _, s := range d.Steps {
			line := fmt.Sprintf("%s %s %s", s.Kind, strings.TrimSpace(s.Send.From+" "+s.Send.Snapshot), d.Target)
			if s.Send.Intermediates {
				line += " -I"
			}
			if s.Send.Raw {
				line += " -w"
			}
			if s.Send.Token != "" {
				line += " token=" + s.Send.Token
			}
			out = append(out, fmt.Sprintf("%s (%d)", line, s.Snapshots))
		}
		if len(d.Steps) == 0 {
			out = append(out, strings.TrimSpace("nothing for "+d.Target+" "+d.Note))
		}
	}
	return out
}

func withAncestors(l Listing, names ...string) Listing {
	for _, n := range names {
		l.Ancestors = append(l.Ancestors, zfs.Dataset{Name: n, Type: zfs.Filesystem, Available: 1 << 40})
	}
	return l
}

func withToken(l Listing, dataset string, t zfs.Token, err error) Listing {
	l.Tokens[dataset] = TokenState{t, err}
	return l
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name           string
		source, target Listing
		want           []string
	}{
		{
			"first run: full, then -I over the unbroken run", listing("a: s1 s2 s3"), withAncestors(Listing{}, "b"),
			[]string{"full a@s1 b/t (1)", "incremental @s1 a@s3 b/t -I (2)"},
		},
		{
			"one snapshot only", listing("a: s1"), withAncestors(Listing{}, "b"),
			[]string{"full a@s1 b/t (1)"},
		},
		{
			"incremental by GUID, names differ", listing("a: s1=x s2 s3"), listing("b/t: old=x"),
			[]string{"incremental @s1 a@s3 b/t -I (2)"},
		},
		{
			"one new snapshot needs no -I", listing("a: s1 s2"), listing("b/t: s1"),
			[]string{"incremental @s1 a@s2 b/t (1)"},
		},
		{"up to date", listing("a: s1 s2"), listing("b/t: s1 s2"), []string{"nothing for b/t"}},
		{
			"base is only a bookmark", listing("a: #b1=s1 s2 s3"), listing("b/t: s1"),
			[]string{"incremental #b1 a@s2 b/t (1)", "incremental @s2 a@s3 b/t (1)"},
		},
		{
			"a snapshot is preferred to its bookmark", listing("a: s1 #b1=s1 s2"), listing("b/t: s1"),
			[]string{"incremental @s1 a@s2 b/t (1)"},
		},
		{
			"the target kept an older snapshot that the source lost", listing("a: s2 s3"), listing("b/t: s1 s2"),
			[]string{"incremental @s2 a@s3 b/t (1)"},
		},
		{
			"a foreign snapshot older than the base is kept", listing("a: s1 s2"), listing("b/t: foreign s1"),
			[]string{"incremental @s1 a@s2 b/t (1)"},
		},
		{
			"tree, parents first, volumes, raw", listing("a: s1", "a/enc encrypted: s1 s2", "a/vol volume: s1"), withAncestors(Listing{}, "b"),
			[]string{"full a@s1 b/t (1)", "full a/enc@s1 b/t/enc -w (1)", "incremental @s1 a/enc@s2 b/t/enc -w (1)", "full a/vol@s1 b/t/vol (1)"},
		},
		{
			"a child without snapshots is left out with what is below it", listing("a: s1", "a/k:", "a/k/l: s1"), withAncestors(Listing{}, "b"),
			[]string{"full a@s1 b/t (1)", "nothing for b/t/k left out: it has no snapshots", "nothing for b/t/k/l left out, because 'a/k' above it is"},
		},
		{
			"written at the target: rolled back, shown (decisions 10)", listing("a: s1 s2"), listing("b/t written=512: s1"),
			[]string{"rollback b/t@s1", "incremental @s1 a@s2 b/t (1)"},
		},
		{"written at the target, nothing to send: left alone", listing("a: s1"), listing("b/t written=512: s1"), []string{"nothing for b/t"}},
		{
			"resume the first receive, then the rest", listing("a: s1 s2 s3"),
			withToken(listing("b/t partial token=T:"), "b/t", zfs.Token{ToName: "a@s1", ToGUID: guid("s1"), Bytes: 5}, nil),
			[]string{"resumed a@s1 b/t token=T (1)", "incremental @s1 a@s3 b/t -I (2)"},
		},
		{
			"resume inside a run of increments", listing("a: s1 s2 s3 s4"),
			withToken(listing("b/t token=T: s1 s2"), "b/t", zfs.Token{ToName: "a@s3", ToGUID: guid("s3"), FromGUID: guid("s2")}, nil),
			[]string{"resumed a@s3 b/t token=T (1)", "incremental @s3 a@s4 b/t (1)"},
		},
		{
			"stale token is discarded", listing("a: s2 s3"),
			withToken(listing("b/t partial token=T:"), "b/t", zfs.Token{}, zfs.ErrTokenStale),
			[]string{"discard b/t", "full a@s2 b/t (1)", "incremental @s2 a@s3 b/t (1)"},
		},
		{
			"token of another stream is discarded", listing("a: s1 s2 s3"),
			withToken(listing("b/t token=T: s1"), "b/t", zfs.Token{ToName: "a@s3", ToGUID: guid("s3"), FromGUID: guid("s2")}, nil),
			[]string{"discard b/t", "incremental @s1 a@s3 b/t -I (2)"},
		},
		{
			"token of a raw stream continues raw", listing("a encrypted: s1"),
			withToken(listing("b/t partial token=T:"), "b/t", zfs.Token{ToName: "a@s1", ToGUID: guid("s1"), Raw: true}, nil),
			[]string{"resumed a@s1 b/t -w token=T (1)"},
		},
		{
			"missing parents", listing("a: s1"), withAncestors(Listing{}, "b"),
			[]string{"full a@s1 b/t (1)"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewPlan(Task{Source: "a", Target: "b/t", Recursive: true}, tt.source, tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, show(p)); d != "" {
				t.Errorf("plan (-want +got):\n%s", d)
			}
		})
	}
}

func TestPlanCreatesMissingParents(t *testing.T) {
	p, err := NewPlan(Task{Source: "a", Target: "b/x/y/t"}, listing("a: s1"), withAncestors(Listing{}, "b"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"create b/x", "create b/x/y", "full a@s1 b/x/y/t (1)"}, show(p)); d != "" {
		t.Error(d)
	}
}

func TestPlanRefuses(t *testing.T) {
	deep := "b" + strings.Repeat("/x", 49)
	tests := []struct {
		name           string
		task           Task
		source, target Listing
		want           string
	}{
		{"no snapshots at all", Task{}, listing("a:"), withAncestors(Listing{}, "b"), "Dataset 'a' does not have any matching snapshots to replicate."},
		{"no common snapshot", Task{}, listing("a: s1 s2"), listing("b/t: x1"), "No incremental base on dataset 'a' and replication from scratch is not allowed."},
		{"same name, other GUID", Task{}, listing("a: s1 s2"), listing("b/t: s1=other"), "No incremental base on dataset 'a'"},
		{"data and no snapshots", Task{}, listing("a: s1"), listing("b/t:"), "Target dataset 'b/t' does not have matching snapshots but has data (0 bytes used) and replication from scratch is not allowed. Refusing to overwrite existing data."},
		{"newer foreign snapshots", Task{}, listing("a: s1 s2"), listing("b/t: s1 theirs"), "newer than the last common one 's1': 'theirs'"},
		{"volume against filesystem", Task{}, listing("a volume: s1"), listing("b/t: s1"), "Source 'a' is a volume, but target 'b/t' already exists and is a filesystem."},
		{"raw onto an unencrypted copy", Task{}, listing("a encrypted: s1 s2"), listing("b/t: s1"), "Unable to send encrypted dataset 'a' to existing unencrypted or unrelated dataset 'b/t'."},
		{"name taken by an older foreign snapshot", Task{}, listing("a: s1 s2"), listing("b/t: s2=foreign s1"), "already has other snapshots of the same name (another GUID): 's2'"},
		{"no pool", Task{}, listing("a: s1"), Listing{}, "Pool 'b' does not exist on the target system."},
		{"parent is a volume", Task{}, listing("a: s1"), Listing{Ancestors: []zfs.Dataset{{Name: "b", Type: zfs.Volume}}}, "'b', which is a volume"},
		{"token of another dataset", Task{}, listing("a: s1"), withToken(listing("b/t partial token=T:"), "b/t", zfs.Token{ToName: "secret@s1", ToGUID: guid("s1")}, nil), "unfinished receive of another dataset, 'secret@s1'"},
		{"token asks for unencrypted data", Task{}, listing("a encrypted: s1"), withToken(listing("b/t encrypted partial token=T:"), "b/t", zfs.Token{ToName: "a@s1", ToGUID: guid("s1")}, nil), "in another form (not raw)"},
		{"target inside source", Task{Target: "a/x", SameSystem: true}, listing("a: s1"), withAncestors(Listing{}, "a"), "one lies inside the other"},
		{"source inside target", Task{Source: "a/x/y", Target: "a/x", SameSystem: true}, listing("a/x/y: s1"), listing("a/x:"), "one lies inside the other"},
		{"too deep", Task{Target: deep + "/y"}, listing("a: s1"), withAncestors(Listing{}, "b"), "51 levels deep"},
		{"name too long", Task{Target: "b/" + strings.Repeat("n", 252)}, listing("a: snapshot"), withAncestors(Listing{}, "b"), "263 bytes long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			task := tt.task
			if task.Source == "" {
				task.Source = "a"
			}
			if task.Target == "" {
				task.Target = "b/t"
			}
			_, err := NewPlan(task, tt.source, tt.target)
			var refused Refused
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPlanReportsAllFaultsAtOnce(t *testing.T) {
	_, err := NewPlan(Task{Source: "a", Target: "b/t", Recursive: true},
		listing("a: s1 s2", "a/v volume: s1", "a/w: s1"), listing("b/t: x", "b/t/v: s1", "b/t/w: s1 y"))
	var refused Refused
	if !errors.As(err, &refused) || len(refused) != 3 {
		t.Fatalf("got %v", err)
	}
}
