package zfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// AbortReceive drops what an interrupted receive into dataset has kept.
func (h *Host) AbortReceive(ctx context.Context, dataset string) error {
	if err := ValidName(dataset); err != nil {
		return err
	}
	_, err := h.run(ctx, "receive", "-A", dataset)
	return err
}

// Snapshot takes snapshots, named dataset@snapshot: all at one moment or, if one cannot be taken, none.
func (h *Host) Snapshot(ctx context.Context, names ...string) error {
	if err := validSnapshots(names); err != nil || len(names) == 0 {
		return err
	}
	_, err := h.run(ctx, append([]string{"snapshot"}, names...)...)
	return err
}

// Create creates a filesystem with properties and leaves it unmounted where zfs knows how. That it exists already is no
// error. Missing parents are created too, but without the properties, and zfs mounts them.
func (h *Host) Create(ctx context.Context, dataset string, props map[string]string) error {
	if err := ValidName(dataset); err != nil {
		return err
	}
	set, err := assignments(props)
	if err != nil {
		return err
	}
	args := []string{"create", "-p"}
	// An unknown version is an old one: the command then says itself what is wrong.
	if f, _ := h.Features(ctx); f.Has(CreateUnmounted) {
		args = append(args, "-u")
	}
	for _, a := range set {
		args = append(args, "-o", a)
	}
	return h.create(ctx, append(args, dataset))
}

// CreateMounted creates a filesystem and missing parents, and mounts them where the user may. That it exists already is no
// error.
func (h *Host) CreateMounted(ctx context.Context, dataset string) error {
	if err := ValidName(dataset); err != nil {
		return err
	}
	return h.create(ctx, []string{"create", "-p", dataset})
}

// create runs zfs create. A filesystem that is there and could not be mounted is created.
func (h *Host) create(ctx context.Context, args []string) error {
	_, err := h.run(ctx, args...)
	if errors.Is(err, errNotMounted) {
		return nil
	}
	return err
}

// Get reads properties of a dataset or snapshot, in exact numbers. A property that has no value is "-".
func (h *Host) Get(ctx context.Context, dataset string, props ...string) (map[string]string, error) {
	if err := validAny(dataset); err != nil {
		return nil, err
	}
	for _, p := range props {
		if err := validProperty(p); err != nil {
			return nil, err
		}
	}
	if len(props) == 0 {
		return map[string]string{}, nil
	}
	out, err := h.run(ctx, "get", "-Hp", "-o", "property,value", strings.Join(props, ","), dataset)
	if err != nil {
		return nil, err
	}
	return parseProperties(out, props)
}

// Set sets properties of a dataset.
func (h *Host) Set(ctx context.Context, dataset string, props map[string]string) error {
	if err := validAny(dataset); err != nil {
		return err
	}
	set, err := assignments(props)
	if err != nil || len(set) == 0 {
		return err
	}
	_, err = h.run(ctx, append(append([]string{"set"}, set...), dataset)...)
	return err
}

// Hold keeps snapshots from being destroyed until the tag is released. A tag that is there already is ErrExist.
func (h *Host) Hold(ctx context.Context, tag string, snapshots ...string) error {
	return h.tag(ctx, "hold", tag, snapshots)
}

// Release takes a hold away. A tag that is not there is ErrNotExist.
func (h *Host) Release(ctx context.Context, tag string, snapshots ...string) error {
	return h.tag(ctx, "release", tag, snapshots)
}

func (h *Host) tag(ctx context.Context, command, tag string, snapshots []string) error {
	if err := validTag(tag); err != nil {
		return err
	}
	if err := validSnapshots(snapshots); err != nil || len(snapshots) == 0 {
		return err
	}
	_, err := h.run(ctx, append([]string{command, tag}, snapshots...)...)
	return err
}

// Bookmark makes the bookmark dataset#name of the snapshot dataset@name.
func (h *Host) Bookmark(ctx context.Context, snapshot, bookmark string) error {
	if err := ValidSnapshotName(snapshot); err != nil {
		return err
	}
	if err := validName(bookmark, "#"); err != nil {
		return err
	}
	_, err := h.run(ctx, "bookmark", snapshot, bookmark)
	return err
}

// Rollback undoes what was written to a dataset since snapshot, which must be its newest: if it is not, the error is
// ErrNewer and nothing is lost.
func (h *Host) Rollback(ctx context.Context, snapshot string) error {
	if err := ValidSnapshotName(snapshot); err != nil {
		return err
	}
	_, err := h.run(ctx, "rollback", snapshot)
	return err
}

// Destroy destroys one dataset without children and snapshots, one bookmark, or snapshots of one dataset, dataset@a,b,c.
// If one of several snapshots is held or has clones, none is destroyed; those that are missing are passed over.
func (h *Host) Destroy(ctx context.Context, name string) error {
	dataset, list, snapshots := strings.Cut(name, "@")
	var err error
	if snapshots {
		for s := range strings.SplitSeq(list, ",") {
			if err = ValidSnapshotName(dataset + "@" + s); err != nil {
				break
			}
		}
	} else {
		err = validAny(name)
	}
	if err != nil {
		return err
	}
	_, err = h.run(ctx, "destroy", name)
	return err
}

// validAny checks the name of a dataset, snapshot or bookmark.
func validAny(name string) error {
	if strings.ContainsAny(name, "@#") {
		return validName(name, "@#")
	}
	return ValidName(name)
}

func validSnapshots(names []string) error {
	for _, name := range names {
		if err := ValidSnapshotName(name); err != nil {
			return err
		}
	}
	return nil
}

// parseProperties reads lines of property and value. A value may go over several lines.
func parseProperties(out string, props []string) (map[string]string, error) {
	values := make(map[string]string, len(props))
	last := ""
	for _, line := range lines(out) {
		name, value, ok := strings.Cut(line, "\t")
		if ok && len(values) < len(props) && props[len(values)] == name {
			values[name], last = value, name
			continue
		}
		if last == "" {
			return nil, malformed("get", line)
		}
		values[last] += "\n" + line
	}
	for _, p := range props {
		if _, ok := values[p]; !ok {
			return nil, fmt.Errorf("zfs get: %w: no value of %s", ErrOutput, p)
		}
	}
	return values, nil
}
