package zfs

import (
	"context"
	"errors"
	"strings"
)

// Datasets lists root and, if recursive, what is below it, parents first.
func (h *Host) Datasets(ctx context.Context, root string, recursive bool) ([]Dataset, error) {
	if err := ValidName(root); err != nil {
		return nil, err
	}
	depth := []string{"-d", "0"}
	if recursive {
		depth = []string{"-r"}
	}
	list, err := h.datasets(ctx, depth, root)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if !within(root, d.Name) {
			return nil, malformed("list", d.Name)
		}
	}
	return list, nil
}

// Names lists the names of every filesystem and volume of the system, parents first.
func (h *Host) Names(ctx context.Context) ([]string, error) {
	out, err := h.run(ctx, "list", "-H", "-t", "filesystem,volume", "-o", "name")
	if err != nil {
		return nil, err
	}
	names := lines(out)
	for _, name := range names {
		if ValidName(name) != nil {
			return nil, malformed("list", name)
		}
	}
	return names, nil
}

// Ancestors lists the datasets above dataset that exist, the pool first. A missing pool is ErrNotExist.
func (h *Host) Ancestors(ctx context.Context, dataset string) ([]Dataset, error) {
	if err := ValidName(dataset); err != nil {
		return nil, err
	}
	var names []string
	for i, c := range dataset {
		if c == '/' {
			names = append(names, dataset[:i])
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	list, err := h.datasets(ctx, []string{"-d", "0"}, names...)
	if err != nil && (len(list) == 0 || !errors.Is(err, ErrNotExist)) {
		return nil, err
	}
	for i, d := range list {
		if i >= len(names) || d.Name != names[i] {
			return nil, malformed("list", d.Name)
		}
	}
	return list, nil
}

// datasets runs one listing. With an error of the command it returns what was listed before it.
func (h *Host) datasets(ctx context.Context, depth []string, names ...string) ([]Dataset, error) {
	args := append([]string{"list", "-Hp", "-t", "filesystem,volume", "-o", strings.Join(datasetColumns, ",")}, depth...)
	out, err := h.run(ctx, append(args, names...)...)
	list, parseErr := parseDatasets(out)
	if err != nil {
		return list, err
	}
	return list, parseErr
}

// Snapshots lists the snapshots and bookmarks of root and, if recursive, of what is below it, by the time they were
// taken. It asks for nothing that zfs would have to look up for each snapshot.
func (h *Host) Snapshots(ctx context.Context, root string, recursive bool) ([]Snapshot, error) {
	if err := ValidName(root); err != nil {
		return nil, err
	}
	args := []string{"list", "-Hp", "-t", "snapshot,bookmark", "-o", "name,guid,createtxg", "-s", "createtxg"}
	if recursive {
		args = append(args, "-r", root)
	} else {
		args = append(args, "-d", "1", root)
	}
	out, err := h.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	list, err := parseSnapshots(out)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.Dataset != root && (!recursive || !within(root, s.Dataset)) {
			return nil, malformed("list", s.String())
		}
	}
	return list, nil
}

// within tells whether name is root or below it.
func within(root, name string) bool {
	return name == root || strings.HasPrefix(name, root+"/")
}
