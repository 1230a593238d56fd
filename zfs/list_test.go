package zfs

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const listDatasets = "zfs list -Hp -t filesystem,volume -o name,type,guid,encryption,keystatus,encryptionroot,receive_resume_token,readonly,mounted,inconsistent,used,referenced,available,written,mountpoint "

func row(name string, rest ...string) string {
	return name + "\tfilesystem\t7\toff\t-\t-\t-\toff\tyes\t0\t1\t2\t3\t4\t" + strings.Join(append(rest, "/"+name), "\t") + "\n"
}

func TestDatasets(t *testing.T) {
	out := "lab/a\tfilesystem\t7180932631270718393\taes-256-gcm\tunavailable\tlab/a\t1-abc-d8-78\ton\tno\t1\t5328896\t5275648\t99999999999999999999\t0\t/mnt/with\ttab\n" +
		"lab/a/vol\tvolume\t18446744073709551615\toff\t-\t-\t-\toff\t-\t-\t9223372036854775808\t24576\tnone\t-\t-\n"
	got, err := New(play(t, call{argv: listDatasets + "-r lab/a", stdout: out}), Options{}).Datasets(t.Context(), "lab/a", true)
	if err != nil {
		t.Fatal(err)
	}
	want := []Dataset{
		{
			Name: "lab/a", Type: Filesystem, GUID: 7180932631270718393, Encryption: "aes-256-gcm", KeyStatus: "unavailable",
			EncryptionRoot: "lab/a", ResumeToken: "1-abc-d8-78", ReadOnly: true, Mountpoint: "/mnt/with\ttab", Inconsistent: true,
			Used: 5328896, Referenced: 5275648, Available: math.MaxInt64,
		},
		{Name: "lab/a/vol", Type: Volume, GUID: math.MaxUint64, Encryption: "off", KeyStatus: "-", Used: math.MaxInt64, Referenced: 24576},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What is not a listing is refused rather than guessed at: decisions.md 23 plans from these two listings alone.
func TestDatasetsRefuse(t *testing.T) {
	tests := []struct{ name, stdout string }{
		{"banner", "Welcome to nas2\n" + row("lab/a")},
		{"missing columns", "lab/a\tfilesystem\t7\n"},
		{"another tree", row("lab/ab")},
		{"a snapshot", strings.Replace(row("lab/a"), "filesystem", "snapshot", 1)},
		{"no guid", strings.Replace(row("lab/a"), "\t7\t", "\t-\t", 1)},
		{"negative size", strings.Replace(row("lab/a"), "\t2\t", "\t-2\t", 1)},
		{"empty line", row("lab/a") + "\n" + row("lab/a/b")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := New(answer{stdout: tt.stdout}, Options{}).Datasets(t.Context(), "lab/a", true)
			if !errors.Is(err, ErrOutput) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestDatasetsAlone(t *testing.T) {
	h := New(play(t, call{argv: "sudo -n /sbin/" + listDatasets + "-d 0 lab", stdout: row("lab")}), Options{Sudo: true, Path: "/sbin/zfs"})
	got, err := h.Datasets(t.Context(), "lab", false)
	if err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAncestors(t *testing.T) {
	missing := "cannot open 'lab/a/b': dataset does not exist\n"
	tests := []struct {
		name    string
		dataset string
		call    call
		want    int
		kind    error
	}{
		{name: "all", dataset: "lab/a/b/c", call: call{argv: listDatasets + "-d 0 lab lab/a lab/a/b", stdout: row("lab") + row("lab/a") + row("lab/a/b")}, want: 3},
		{name: "some", dataset: "lab/a/b/c", call: call{argv: listDatasets + "-d 0 lab lab/a lab/a/b", stdout: row("lab") + row("lab/a"), stderr: missing, err: exitStatus(1)}, want: 2},
		{name: "no pool", dataset: "lab/a", call: call{argv: listDatasets + "-d 0 lab", stderr: "cannot open 'lab': dataset does not exist", err: exitStatus(1)}, kind: ErrNotExist},
		{name: "other failure", dataset: "lab/a/b", call: call{argv: listDatasets + "-d 0 lab lab/a", stdout: row("lab"), stderr: "cannot open 'lab/a': I/O error", err: exitStatus(1)}, kind: ErrIO},
		{name: "a gap", dataset: "lab/a/b", call: call{argv: listDatasets + "-d 0 lab lab/a", stdout: row("lab/a"), stderr: missing, err: exitStatus(1)}, kind: ErrOutput},
		{name: "noise", dataset: "lab/a", call: call{argv: listDatasets + "-d 0 lab", stdout: "hello\n" + row("lab")}, kind: ErrOutput},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := New(play(t, tt.call), Options{}).Ancestors(t.Context(), tt.dataset)
			if len(got) != tt.want || !errors.Is(err, tt.kind) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	if got, err := New(play(t), Options{}).Ancestors(t.Context(), "lab"); got != nil || err != nil {
		t.Errorf("a pool has ancestors: %v, %v", got, err)
	}
}

// decisions.md 23: the columns of the fast gear, sorted without a look at any property.
func TestSnapshots(t *testing.T) {
	const list = "zfs list -Hp -t snapshot,bookmark -o name,guid,createtxg -s createtxg "
	out := "lab/a@s1\t5305551431548802008\t8\nlab/a#b1\t5305551431548802008\t8\nlab/a/child@s4\t17077652841528566098\t13\n"
	got, err := New(play(t, call{argv: list + "-r lab/a", stdout: out}), Options{}).Snapshots(t.Context(), "lab/a", true)
	if err != nil {
		t.Fatal(err)
	}
	want := []Snapshot{
		{Dataset: "lab/a", Name: "s1", GUID: 5305551431548802008, CreateTXG: 8},
		{Dataset: "lab/a", Name: "b1", Bookmark: true, GUID: 5305551431548802008, CreateTXG: 8},
		{Dataset: "lab/a/child", Name: "s4", GUID: 17077652841528566098, CreateTXG: 13},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = New(play(t, call{argv: list + "-d 1 lab/a", stdout: out}), Options{}).Snapshots(t.Context(), "lab/a", false)
	if !errors.Is(err, ErrOutput) {
		t.Errorf("the snapshot of a child passed: %v", err)
	}
	for _, line := range []string{"hello", "lab/a@s1\t1", "lab/a\t1\t1", "@s1\t1\t1", "lab/a@\t1\t1", "lab/a@s1\t-\t1", "lab/a@s1\t1\t1\t1", "lab/b@s1\t1\t1", ""} {
		if got, err := New(answer{stdout: line + "\n"}, Options{}).Snapshots(t.Context(), "lab/a", true); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %v, %v", line, got, err)
		}
	}
	if got, err := New(answer{}, Options{}).Snapshots(t.Context(), "lab/a", true); err != nil || len(got) != 0 {
		t.Errorf("nothing: got %v, %v", got, err)
	}
}

var component = rapid.StringMatching(`[A-Za-z0-9_:-][A-Za-z0-9_.: -]{0,20}`)

var anySnapshot = rapid.Custom(func(t *rapid.T) Snapshot {
	return Snapshot{
		Dataset:   "lab/" + component.Draw(t, "dataset"),
		Name:      component.Draw(t, "name"),
		Bookmark:  rapid.Bool().Draw(t, "bookmark"),
		GUID:      rapid.Uint64().Draw(t, "guid"),
		CreateTXG: rapid.Uint64().Draw(t, "txg"),
	}
})

func printSnapshots(list []Snapshot) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s\t%d\t%d\n", s, s.GUID, s.CreateTXG)
	}
	return b.String()
}

func TestSnapshotsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(anySnapshot, 0, 20).Draw(t, "list")
		got, err := parseSnapshots(printSnapshots(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]Snapshot{}, want...), got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestDatasetsRoundTrip(t *testing.T) {
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	size := rapid.Int64Min(0)
	rapid.Check(t, func(t *rapid.T) {
		want := Dataset{
			Name:           "lab/" + component.Draw(t, "name"),
			Type:           rapid.SampledFrom([]Type{Filesystem, Volume}).Draw(t, "type"),
			GUID:           rapid.Uint64().Draw(t, "guid"),
			Encryption:     rapid.SampledFrom([]string{"off", "aes-256-gcm"}).Draw(t, "encryption"),
			KeyStatus:      rapid.SampledFrom([]string{"-", "available", "unavailable"}).Draw(t, "keystatus"),
			EncryptionRoot: rapid.SampledFrom([]string{"", "lab"}).Draw(t, "root"),
			ResumeToken:    rapid.StringMatching(`(1-[0-9a-f]{1,9}-b8-[0-9a-f]{2,40})?`).Draw(t, "token"),
			ReadOnly:       rapid.Bool().Draw(t, "readonly"),
			Mounted:        rapid.Bool().Draw(t, "mounted"),
			Inconsistent:   rapid.Bool().Draw(t, "inconsistent"),
			Used:           size.Draw(t, "used"), Referenced: size.Draw(t, "referenced"),
			Available: size.Draw(t, "available"), Written: size.Draw(t, "written"),
			Mountpoint: rapid.StringMatching(`(/[^\n]{0,20})?`).Draw(t, "mountpoint"),
		}
		text := map[bool][3]string{false: {"off", "no", "0"}, true: {"on", "yes", "1"}}
		line := fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s",
			want.Name, want.Type, want.GUID, want.Encryption, want.KeyStatus, dash(want.EncryptionRoot), dash(want.ResumeToken),
			text[want.ReadOnly][0], text[want.Mounted][1], text[want.Inconsistent][2],
			want.Used, want.Referenced, want.Available, want.Written, dash(want.Mountpoint))
		got, err := parseDatasets(line + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Dataset{want}, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzSnapshots: what is taken for a listing prints as the same listing.
func FuzzSnapshots(f *testing.F) {
	f.Add("lab/a@s1\t5305551431548802008\t8\nlab/a#b1\t5305551431548802008\t8\n")
	f.Add("Welcome\n")
	f.Add("a@b@c\t1\t1\n")
	f.Add("a@b\t1\t1")
	f.Fuzz(func(t *testing.T, out string) {
		list, err := parseSnapshots(out)
		if err != nil {
			return
		}
		again, err := parseSnapshots(printSnapshots(list))
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if diff := cmp.Diff(list, again); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNamesOfAll(t *testing.T) {
	const argv = "zfs list -H -t filesystem,volume -o name"
	got, err := New(play(t, call{argv: argv, stdout: "lab\nlab/a b\nlab/v\n"}), Options{}).Names(t.Context())
	if diff := cmp.Diff([]string{"lab", "lab/a b", "lab/v"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, line := range []string{"-x\n", "lab@s\n", "lab/a\tb\n", "\n\n"} {
		if got, err := New(play(t, call{argv: argv, stdout: line}), Options{}).Names(t.Context()); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %q, %v", line, got, err)
		}
	}
}
