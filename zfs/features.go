package zfs

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// Version is the version of an OpenZFS release; the zero value is an unknown one.
type Version struct {
	Major, Minor, Patch int
}

// String returns the version as in 2.3.2, or "unknown".
func (v Version) String() string {
	if v == (Version{}) {
		return "unknown"
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// Less tells whether v is older than w.
func (v Version) Less(w Version) bool {
	switch {
	case v.Major != w.Major:
		return v.Major < w.Major
	case v.Minor != w.Minor:
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

// Features is what the zfs of a system can do.
type Features struct {
	Userland Version
	Kernel   Version // unknown where zfs does not say
}

// AtLeast tells whether both the command and the kernel's part are of that release or a newer one. What is unknown is
// old.
func (f Features) AtLeast(major, minor, patch int) bool {
	v := Version{major, minor, patch}
	if f.Kernel != (Version{}) && f.Kernel.Less(v) {
		return false
	}
	return !f.Userland.Less(v)
}

// Feature is something that not every release has.
type Feature string

// The features that make a difference here.
const (
	CreateUnmounted  Feature = "create -u"
	SendTitle        Feature = "send -V"
	SnapshotsChanged Feature = "snapshots_changed"
	ReceiveAppend    Feature = "receive:append"
	SendRaw          Feature = "send:raw"
)

// since tells in which releases a feature appeared: that of the first entry, and later ones of older lines.
var since = map[Feature][]Version{
	CreateUnmounted:  {{2, 0, 0}},
	SendTitle:        {{2, 2, 0}, {2, 1, 15}},
	SnapshotsChanged: {{2, 2, 0}},
	ReceiveAppend:    {{2, 3, 2}},
	SendRaw:          {{2, 4, 0}},
}

// Has tells whether a feature is there. What is unknown is not.
func (f Features) Has(what Feature) bool {
	for i, v := range since[what] {
		sameLine := f.Userland.Major == v.Major && f.Userland.Minor == v.Minor
		if f.AtLeast(v.Major, v.Minor, v.Patch) && (i == 0 || sameLine) {
			return true
		}
	}
	return false
}

// Features asks for the version of zfs, once; an answer is remembered.
func (h *Host) Features(ctx context.Context) (Features, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.features != nil {
		return *h.features, nil
	}
	out, err := h.run(ctx, "version")
	if err != nil {
		return Features{}, err
	}
	f, err := parseVersion(out)
	if err != nil {
		return Features{}, err
	}
	h.features = &f
	return f, nil
}

// Distributions put their own marks behind the number: zfs-2.3.2-2~bpo12+2, zfs-2.1.14-FreeBSD_gd99134be8,
// zfs-kmod-v2023.10.31.
var version = regexp.MustCompile(`(?m)^zfs-(kmod-)?v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?`)

// parseVersion reads the output of zfs version.
func parseVersion(out string) (f Features, err error) {
	for _, m := range version.FindAllStringSubmatch(out, -1) {
		var v Version
		for i, n := range []*int{&v.Major, &v.Minor, &v.Patch} {
			*n, _ = strconv.Atoi(m[2+i]) // at most four digits; none is 0
		}
		if m[1] == "" {
			f.Userland = v
		} else {
			f.Kernel = v
		}
	}
	if f.Userland == (Version{}) {
		return f, malformed("version", out)
	}
	return f, nil
}
