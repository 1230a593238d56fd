package methods_test

import (
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// TestLooks_3_6 holds what a wizard asks (truenas-api.md 3.6), here on this system alone.
func TestLooks_3_6(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, line := range []string{
		"zfs create tank/data", "zfs create tank/data/x", "zfs snapshot tank/data@auto-2026-01-02_03-04", "zfs snapshot tank/data@auto-2026-13-02_03-04",
		"zfs snapshot tank/data@manual", "zfs snapshot tank/data/x@manual2", "zfs create vault/data", "zfs snapshot vault/data@manual",
		"zfs snapshot vault/data@other",
	} {
		a.do(line)
	}
	who := tasksWriter()
	a.want(who, "replication.list_datasets", `["LOCAL"]`, `["tank", "tank/data", "tank/data/x", "vault", "vault/data"]`)
	a.want(who, "replication.create_dataset", `["vault/new/deep", "LOCAL"]`, `null`)
	a.want(who, "replication.list_datasets", `["LOCAL", null]`, `["tank", "tank/data", "tank/data/x", "vault", "vault/data", "vault/new", "vault/new/deep"]`)
	a.want(who, "replication.list_naming_schemas", `[]`, `[]`)

	const count = "replication.count_eligible_manual_snapshots"
	a.want(who, count, `[{"datasets": ["tank/data", "tank/data/x"], "transport": "LOCAL", "naming_schema": ["auto-%Y-%m-%d_%H-%M", "x-%s"]}]`, `{"total": 4, "eligible": 1}`)
	a.want(who, count, `[{"datasets": ["tank/data", "tank/data/x"], "transport": "LOCAL", "name_regex": "manual"}]`, `{"total": 4, "eligible": 1}`)
	a.want(who, count, `[{"datasets": ["tank/data", "tank/data/x"], "transport": "LOCAL", "name_regex": "manual|.*2"}]`, `{"total": 4, "eligible": 2}`)
	a.want(who, "replication.target_unmatched_snapshots", `["PUSH", ["tank/data"], "vault/data", "LOCAL"]`, `{"vault/data": ["other"]}`)
	// decisions 30 item 28
	a.want(who, "replication.target_unmatched_snapshots", `["PUSH", ["tank/-*"], "vault/data", "LOCAL"]`, `{}`)

	now := a.must(admin(), "replication.new_snapshot_name", `["%Y-%m-%d_%H-%M"]`)
	if _, err := time.Parse(`"2006-01-02_15-04"`, now); err != nil {
		t.Errorf("3.1: a name for now: %v", err)
	}
}

// TestLookFaults_3_6 holds the errors of 3.6, in the order in which they are looked for.
func TestLookFaults_3_6(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	who := tasksWriter()
	const (
		count = "replication.count_eligible_manual_snapshots"
		pre   = "count_eligible_manual_snapshots."
		text  = "[EFAULT] You should pass SSH credentials for SSH transport"
	)
	a.fails(who, count, `[{"datasets": ["tank/none"], "transport": "LOCAL", "naming_schema": ["%Y%m%d%H%M"], "name_regex": "x"}]`, rpc.EINVAL, "[EINVAL] `naming_schema` and `name_regex` cannot be used simultaneously")
	a.fails(who, count, `[{"datasets": ["tank"], "transport": "LOCAL"}]`, rpc.EINVAL, "[EINVAL] Either `naming_schema` or `name_regex` must be specified")
	a.refuses(who, count, `[{"datasets": [], "transport": "FTP", "naming_schema": ["auto", "%Y%m%d%H%M"], "recursive": true}]`,
		invalid(pre+"datasets", "List should have at least 1 item after validation, not 0"),
		invalid(pre+"naming_schema.0", "Value error, %Y must be present in snapshot naming schema"),
		invalid(pre+"transport", "Input should be 'SSH', 'SSH+NETCAT' or 'LOCAL'"),
		invalid(pre+"recursive", "Extra inputs are not permitted"))
	a.refuses(who, "replication.list_datasets", `["LOCAL", 2]`, invalid("ssh_credentials", "Remote credentials have no sense for local replication"))
	a.refuses(who, "replication.create_dataset", `["tank/a*", "LOCAL"]`, invalid("dataset", `invalid name "tank/a*": character '*'.`))
	for method, params := range map[string]string{
		"replication.list_datasets": `["SSH"]`, "replication.create_dataset": `["tank/a", "SSH"]`, count: `[{"datasets": ["tank"], "transport": "SSH+NETCAT"}]`,
		"replication.target_unmatched_snapshots": `["PUSH", ["tank"], "backup", "SSH"]`,
	} {
		a.fails(who, method, params, rpc.EFAULT, text)
	}
}
