package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/zfs"
)

func TestRenderPlan(t *testing.T) {
	plan := &replication.Plan{
		Create: []string{"backup/kept"},
		Datasets: []replication.DatasetPlan{
			{Source: "tank/a", Type: zfs.Filesystem, Steps: []replication.Step{
				{Kind: replication.Full, Snapshots: 1, Bytes: 1 << 30},
				{Kind: replication.Incremental, Snapshots: 11, Bytes: 200 << 20},
			}},
			{Source: "tank/a/same", Type: zfs.Filesystem},
			{Source: "tank/a/secret", Type: zfs.Volume, Raw: true, Note: "9 bytes are rolled back", Steps: []replication.Step{
				{Kind: replication.Incremental, Snapshots: 3, Bytes: -1},
			}},
			{Source: "tank/a/bare", Type: zfs.Filesystem, Note: "has no snapshots"},
		},
	}
	want := `from tank/a
to   root@nas2:backup/kept/a

create backup/kept
DATASET        STREAMS            SNAPSHOTS    BYTES  NOTE
tank/a         full, incremental         12  1.2 GiB
tank/a/secret  incremental                3  unknown  volume; encrypted, sent raw; 9 bytes are rolled back
tank/a/bare    -                          0        -  has no snapshots
1 dataset up to date

15 snapshots in 3 streams, at least 1.2 GiB.
`
	var got strings.Builder
	renderPlan(&got, plan, endpoint{dataset: "tank/a"}, endpoint{user: "root", host: "nas2", dataset: "backup/kept/a"})
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestFigures(t *testing.T) {
	tests := []struct{ got, want string }{
		{size(0), "0 B"},
		{size(1023), "1023 B"},
		{size(1024), "1.0 KiB"},
		{size(1536 << 20), "1.5 GiB"},
		{estimate(-1), "unknown"},
		{count(0, "stream"), "0 streams"},
		{count(1, "stream"), "1 stream"},
		{seconds(1234 * time.Millisecond), "1.2s"},
		{seconds(100*time.Second + 400*time.Millisecond), "1m40s"},
		{speed(replication.Progress{Rate: 2048, Left: -1}), "2.0 KiB/s"},
		{speed(replication.Progress{Rate: 2048, Left: time.Hour}), "2.0 KiB/s  1h0m0s left"},
		{cut("tank/data@one", 20), "tank/data@one"},
		{cut("tank/data@one", 8), "tank/da…"},
		{cut("tank", 0), "…"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
