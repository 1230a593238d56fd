package host

import (
	"slices"
	"strings"
)

const (
	fullAdmin     = "FULL_ADMIN"
	readonlyAdmin = "READONLY_ADMIN"
)

// writers are the prefixes of roles whose _WRITE contains the _READ.
func writers() []string {
	return []string{
		"ACCOUNT", "ALERT", "DATASET", "KEYCHAIN_CREDENTIAL", "POOL", "REPLICATION_TASK", "REPLICATION_TASK_CONFIG",
		"SNAPSHOT", "SNAPSHOT_TASK",
	}
}

// allRoles lists every role that the host knows.
func allRoles() []string {
	all := []string{
		fullAdmin, readonlyAdmin, "REPLICATION_ADMIN", "REPLICATION_TASK_WRITE_PULL", "SNAPSHOT_DELETE", "ALERT_LIST_READ",
		"SYSTEM_AUDIT_READ",
	}
	for _, prefix := range writers() {
		all = append(all, prefix+"_READ", prefix+"_WRITE")
	}
	slices.Sort(all)
	return all
}

// containedIn lists the roles that a role contains directly.
func containedIn(role string) []string {
	switch role {
	case fullAdmin:
		return allRoles()
	case readonlyAdmin:
		return slices.DeleteFunc(allRoles(), func(r string) bool { return !strings.HasSuffix(r, "_READ") })
	case "REPLICATION_ADMIN":
		return []string{
			"KEYCHAIN_CREDENTIAL_WRITE", "REPLICATION_TASK_CONFIG_WRITE", "REPLICATION_TASK_WRITE", "SNAPSHOT_TASK_WRITE",
			"SNAPSHOT_WRITE",
		}
	case "REPLICATION_TASK_WRITE_PULL":
		return []string{"REPLICATION_TASK_WRITE"}
	}
	if prefix, ok := strings.CutSuffix(role, "_WRITE"); ok && slices.Contains(writers(), prefix) {
		return []string{prefix + "_READ"}
	}
	return nil
}

// expandRoles adds the roles that are contained in others, and sorts them. Roles that the host does not know stay: a plugin may
// have some of its own.
func expandRoles(roles []string) []string {
	found := make(map[string]bool)
	var add func(role string)
	add = func(role string) {
		if found[role] {
			return
		}
		found[role] = true
		for _, contained := range containedIn(role) {
			add(contained)
		}
	}
	for _, role := range roles {
		add(role)
	}
	all := make([]string, 0, len(found))
	for role := range found {
		all = append(all, role)
	}
	slices.Sort(all)
	return all
}
