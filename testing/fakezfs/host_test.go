package fakezfs

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/zferry/zferry/zfs"
)

// The typed commands of package zfs find here all that they ask for.
func TestHost(t *testing.T) {
	ctx, s := t.Context(), New("tank", "backup")
	h := zfs.New(s, zfs.Options{})
	if _, err := h.Features(ctx); err != nil {
		t.Error(err)
	}
	if err := h.Create(ctx, "tank/x/a", map[string]string{"readonly": "on"}); err != nil {
		t.Fatal(err)
	}
	do(t, s, "zfs fake-write tank/x/a 3000000")
	if err := errors.Join(
		h.Snapshot(ctx, "tank/x/a@1"), h.Hold(ctx, "k", "tank/x/a@1"), h.Bookmark(ctx, "tank/x/a@1", "tank/x/a#1"),
		h.Set(ctx, "tank/x/a", map[string]string{"com.example:p": "v"}),
	); err != nil {
		t.Fatal(err)
	}
	if err := h.Destroy(ctx, "tank/x/a@1"); !errors.Is(err, zfs.ErrHeld) {
		t.Errorf("destroy of what is held: %v", err)
	}
	if err := h.Release(ctx, "k", "tank/x/a@1"); err != nil {
		t.Error(err)
	}
	datasets, err := h.Datasets(ctx, "tank", true)
	if err != nil || len(datasets) != 3 || datasets[2].Name != "tank/x/a" || !datasets[2].ReadOnly {
		t.Errorf("datasets: %+v, %v", datasets, err)
	}
	if above, err := h.Ancestors(ctx, "tank/x/b/c"); err != nil || len(above) != 2 {
		t.Errorf("ancestors: %+v, %v", above, err)
	}
	snaps, err := h.Snapshots(ctx, "tank", true)
	if err != nil || len(snaps) != 2 || snaps[0].GUID != snaps[1].GUID {
		t.Errorf("snapshots: %+v, %v", snaps, err)
	}
	size, err := h.Estimate(ctx, zfs.Send{Snapshot: "tank/x/a@1"})
	if err != nil || size < 3000000 || size > 3100000 {
		t.Errorf("estimate: %d, %v", size, err)
	}
	resumes(t, s, h)
}

// resumes cuts a stream and completes it with its token.
func resumes(t *testing.T, s *System, h *zfs.Host) {
	ctx := t.Context()
	var stream bytes.Buffer
	if err := h.Send(ctx, []zfs.Send{{Snapshot: "tank/x/a@1", LargeBlocks: true, Compressed: true}}, &stream, nil); err != nil {
		t.Fatal(err)
	}
	_, err := h.Receive(ctx, []zfs.Receive{{Dataset: "backup/a"}}, io.LimitReader(&stream, 2000000), nil)
	var cut *zfs.ResumableError
	if !errors.As(err, &cut) {
		t.Fatalf("cut receive: %v", err)
	}
	list, err := h.Datasets(ctx, "backup/a", false)
	if err != nil || len(list) != 1 || list[0].ResumeToken != cut.Token || !list[0].Inconsistent {
		t.Fatalf("datasets: %+v, %v", list, err)
	}
	token, err := h.Token(ctx, cut.Token)
	if err != nil || token.ToName != "tank/x/a@1" || !token.LargeBlocks || !token.Compressed || token.Raw || token.Size <= 0 ||
		token.Size > 1200000 {
		t.Errorf("token: %+v, %v", token, err)
	}
	if _, err := h.Token(ctx, strings.Replace(cut.Token, "-", "-f", 1)); !errors.Is(err, zfs.ErrTokenCorrupt) {
		t.Errorf("damaged token: %v", err)
	}
	stream.Reset()
	if err := h.Send(ctx, []zfs.Send{{Token: cut.Token}}, &stream, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Receive(ctx, []zfs.Receive{{Dataset: "backup/a", Set: map[string]string{"readonly": "on"}}}, &stream, nil); err != nil {
		t.Fatal(err)
	}
	if do(t, s, "zfs fake-sum backup/a@1") != do(t, s, "zfs fake-sum tank/x/a@1") {
		t.Error("the copy differs")
	}
}
