package replication_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zferry/zferry/replication"
)

// TestSchemaRules_5_2 breaks each rule of truenas-api.md 5.2.
func TestSchemaRules_5_2(t *testing.T) {
	tests := []struct{ rule, format, want string }{
		{"1", "auto-%Y%%", "% is not an allowed character in ZFS snapshot name"},
		{"2: one", "auto@%Y", "@ is not an allowed character in ZFS snapshot name"},
		{"2: several, each once", "a@b/c@%Y", "@/ are not allowed characters in ZFS snapshot name"},
		{"3", "auto-%s-%Y", "No other placeholder can be used with %s in naming schema"},
		{"4", "auto", "%Y must be present in snapshot naming schema"},
		{"4: the first one missing", "auto-%Y-%m_%H-%M", "%d must be present in snapshot naming schema"},
		{"5", "auto--%Y-%m-%d_%H-%M%z", "%z and `--` can't be present in snapshot naming schema at the same time. ZFS snapshot names can't contain `+` so we use `--` instead."},
		{"6: another month", "%Y-%m-%d_%H-%M-%y", ""},
		{"6: unknown", "%Y-%m-%d_%H-%M-%Q", "Invalid naming schema: "},
	}
	for _, tt := range tests {
		t.Run("5.2 rule "+tt.rule, func(t *testing.T) {
			_, err := replication.ParseSchema(tt.format)
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || err.Error() != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestSchemaTimes holds what names mean.
func TestSchemaTimes(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.FixedZone("", 2*3600))
	tests := []struct {
		format, name string
		want         time.Time
		no           []string
	}{
		{"auto-%Y-%m-%d_%H-%M", "auto-2026-01-02_03-04", time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), []string{"auto-2026-01-02", "auto-2026-01-02_03-04x", "x", "auto-2026-13-02_03-04", ""}},
		{"%Y%m%d%H%M%z", "202601020304--0200", at, []string{"202601020304"}},
		{"auto.%s", "auto.1767315840", time.Unix(1767315840, 0), []string{"auto.", "auto.x"}},
	}
	for _, tt := range tests {
		s, err := replication.ParseSchema(tt.format)
		if err != nil {
			t.Errorf("%s: %v", tt.format, err)
			continue
		}
		if got := s.Name(tt.want); got != tt.name {
			t.Errorf("%s: name %s, want %s", tt.format, got, tt.name)
		}
		if got, ok := s.Time(tt.name); !ok || !got.Equal(tt.want) {
			t.Errorf("%s: %s is %v, %v, want %v", tt.format, tt.name, got, ok, tt.want)
		}
		for _, name := range tt.no {
			if got, ok := s.Time(name); ok {
				t.Errorf("%s: %q is taken for %v", tt.format, name, got)
			}
		}
	}
}

// TestSchemaRoundTrip: the name of a time is read as that time, to the minute.
func TestSchemaRoundTrip(t *testing.T) {
	for _, format := range []string{"auto-%Y-%m-%d_%H-%M", "%Y.%m.%d %H:%M%z", "x-%s", "%d%m%Y-%H%M-y"} {
		s, err := replication.ParseSchema(format)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			zone := time.UTC
			if strings.Contains(format, "%z") {
				zone = time.FixedZone("", rapid.IntRange(-48, 56).Draw(t, "quarters")*900)
			}
			at := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "at")/60*60, 0).In(zone)
			if got, ok := s.Time(s.Name(at)); !ok || !got.Equal(at) {
				t.Fatalf("%s: %s is %v, want %v", format, s.Name(at), got, at)
			}
		})
	}
}

// FuzzSchema: whatever is taken keeps the promise of the round trip for names of its own.
func FuzzSchema(f *testing.F) {
	for _, seed := range []string{"auto-%Y-%m-%d_%H-%M", "%Y%m%d%H%M%z", "%s", "%j%U%Y%m%d%H%M", "%-d%Y%m%d%H%M"} {
		f.Add(seed, int64(1_767_315_840))
	}
	f.Fuzz(func(t *testing.T, format string, seconds int64) {
		s, err := replication.ParseSchema(format)
		if err != nil || seconds < 0 || seconds > 4_000_000_000 {
			return
		}
		s.Time(s.Name(time.Unix(seconds, 0).UTC()))
	})
}
