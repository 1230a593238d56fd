package zfs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ErrOutput is output of zfs that is not what was asked for, for instance because a login script writes to it.
var ErrOutput = errors.New("unexpected output")

func malformed(command, line string) error {
	const most = 200
	if len(line) > most {
		line = line[:most]
	}
	return fmt.Errorf("zfs %s: %w: %q", command, ErrOutput, line)
}

// datasetColumns are the columns of a listing of datasets, in the order of parseDataset. A mountpoint may hold tabs, so it
// comes last.
var datasetColumns = []string{
	"name", "type", "guid", "encryption", "keystatus", "encryptionroot", "receive_resume_token", "readonly", "mounted",
	"inconsistent", "used", "referenced", "available", "written", "mountpoint",
}

// parseDatasets reads a listing, up to the first line that does not fit.
func parseDatasets(out string) ([]Dataset, error) {
	all := lines(out)
	list := make([]Dataset, 0, len(all))
	for _, line := range all {
		d, ok := parseDataset(line)
		if !ok {
			return list, malformed("list", line)
		}
		list = append(list, d)
	}
	return list, nil
}

func parseDataset(line string) (Dataset, bool) {
	f := strings.SplitN(line, "\t", len(datasetColumns))
	if len(f) < len(datasetColumns) || f[0] == "" || f[1] != string(Filesystem) && f[1] != string(Volume) {
		return Dataset{}, false
	}
	guid, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil {
		return Dataset{}, false
	}
	var sizes [4]int64
	for i := range sizes {
		n, ok := parseSize(f[10+i])
		if !ok {
			return Dataset{}, false
		}
		sizes[i] = n
	}
	return Dataset{
		Name:           f[0],
		Type:           Type(f[1]),
		GUID:           guid,
		Encryption:     f[3],
		KeyStatus:      f[4],
		EncryptionRoot: unset(f[5]),
		ResumeToken:    unset(f[6]),
		ReadOnly:       f[7] == "on",
		Mounted:        f[8] == "yes",
		Inconsistent:   f[9] == "1",
		Used:           sizes[0],
		Referenced:     sizes[1],
		Available:      sizes[2],
		Written:        sizes[3],
		Mountpoint:     unset(f[14]),
	}, true
}

// unset turns the dash of a property without a value into no text.
func unset(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// parseSize reads a number of bytes. A property without a value is 0; what does not fit is the largest that does.
func parseSize(s string) (int64, bool) {
	if s == "-" || s == "none" {
		return 0, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return int64(min(n, math.MaxInt64)), true
}

// parseSnapshots reads a listing of name, guid and createtxg.
func parseSnapshots(out string) ([]Snapshot, error) {
	list := make([]Snapshot, 0, strings.Count(out, "\n"))
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		s, ok := parseSnapshot(line)
		if !ok {
			return nil, malformed("list", line)
		}
		list = append(list, s)
	}
	return list, nil
}

func parseSnapshot(line string) (s Snapshot, ok bool) {
	name, rest, _ := strings.Cut(line, "\t")
	guid, txg, _ := strings.Cut(rest, "\t")
	if s.Dataset, s.Name, s.Bookmark, ok = splitName(name); !ok {
		return s, false
	}
	var err1, err2 error
	s.GUID, err1 = strconv.ParseUint(guid, 10, 64)
	s.CreateTXG, err2 = strconv.ParseUint(txg, 10, 64)
	return s, err1 == nil && err2 == nil
}
