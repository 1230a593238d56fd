package host

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExpandRoles is truenas-api.md section 7 and decision 31.
func TestExpandRoles(t *testing.T) {
	for name, tt := range map[string]struct {
		roles []string
		want  string
	}{
		"none":           {nil, ""},
		"one":            {[]string{"REPLICATION_TASK_READ"}, "REPLICATION_TASK_READ"},
		"write has read": {[]string{"SNAPSHOT_TASK_WRITE"}, "SNAPSHOT_TASK_READ SNAPSHOT_TASK_WRITE"},
		"pull":           {[]string{"REPLICATION_TASK_WRITE_PULL"}, "REPLICATION_TASK_READ REPLICATION_TASK_WRITE REPLICATION_TASK_WRITE_PULL"},
		"config":         {[]string{"REPLICATION_TASK_CONFIG_WRITE"}, "REPLICATION_TASK_CONFIG_READ REPLICATION_TASK_CONFIG_WRITE"},
		"delete alone":   {[]string{"SNAPSHOT_DELETE"}, "SNAPSHOT_DELETE"},
		"admin of replication": {
			[]string{"REPLICATION_ADMIN"},
			"KEYCHAIN_CREDENTIAL_READ KEYCHAIN_CREDENTIAL_WRITE REPLICATION_ADMIN REPLICATION_TASK_CONFIG_READ REPLICATION_TASK_CONFIG_WRITE " +
				"REPLICATION_TASK_READ REPLICATION_TASK_WRITE SNAPSHOT_READ SNAPSHOT_TASK_READ SNAPSHOT_TASK_WRITE SNAPSHOT_WRITE",
		},
		"readers": {
			[]string{"READONLY_ADMIN"},
			"ACCOUNT_READ ALERT_LIST_READ ALERT_READ DATASET_READ KEYCHAIN_CREDENTIAL_READ POOL_READ READONLY_ADMIN REPLICATION_TASK_CONFIG_READ " +
				"REPLICATION_TASK_READ SNAPSHOT_READ SNAPSHOT_TASK_READ SYSTEM_AUDIT_READ",
		},
		"unknown": {[]string{"FOO_WRITE"}, "FOO_WRITE"},
	} {
		if diff := cmp.Diff(strings.Fields(tt.want), expandRoles(tt.roles)); diff != "" && tt.want != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := expandRoles([]string{fullAdmin}); !slices.Equal(got, allRoles()) {
		t.Errorf("the full administrator has only %v", got)
	}
}

func TestHolds(t *testing.T) {
	for _, tt := range []struct {
		has, needs string
		want       bool
	}{
		{"REPLICATION_ADMIN", "REPLICATION_TASK_READ", true},
		{"REPLICATION_ADMIN", "REPLICATION_TASK_WRITE_PULL", false},
		{"REPLICATION_ADMIN", "SNAPSHOT_DELETE", false},
		{"REPLICATION_ADMIN", "DATASET_READ", false},
		{"READONLY_ADMIN", "FOO_READ", true},
		{"READONLY_ADMIN", "FOO_WRITE", false},
		{"FULL_ADMIN", "FOO_WRITE", true},
		{"", "", false},
	} {
		var id identity
		id.setRoles(strings.Fields(tt.has))
		if got := id.holds(strings.Fields(tt.needs)); got != tt.want {
			t.Errorf("%q holds %q: %v", tt.has, tt.needs, got)
		}
	}
	admin := identity{}
	admin.setRoles([]string{fullAdmin})
	if !admin.holds(nil) {
		t.Error("a full administrator may do what needs no role")
	}
}
