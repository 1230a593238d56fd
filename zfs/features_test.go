package zfs

import (
	"errors"
	"testing"
)

func TestVersion(t *testing.T) {
	tests := []struct {
		name, out        string
		userland, kernel Version
	}{
		{"Debian backport", "zfs-2.3.2-2~bpo12+2\nzfs-kmod-2.3.2-2~bpo12+2\n", Version{2, 3, 2}, Version{2, 3, 2}},
		{"Debian 12", "zfs-2.1.11-1+deb12u1\nzfs-kmod-2.1.11-1+deb12u1\n", Version{2, 1, 11}, Version{2, 1, 11}},
		{"Ubuntu, kernel ahead", "zfs-2.1.5-1ubuntu6~22.04.4\nzfs-kmod-2.2.0-0ubuntu1~23.10.3\n", Version{2, 1, 5}, Version{2, 2, 0}},
		{"FreeBSD", "zfs-2.1.14-FreeBSD_gd99134be8\nzfs-kmod-2.1.14-FreeBSD_gd99134be8\n", Version{2, 1, 14}, Version{2, 1, 14}},
		{"TrueNAS 13", "zfs-2.1.13-1\nzfs-kmod-v2023100600-zfs_a12fbb4b8\n", Version{2, 1, 13}, Version{}},
		{"candidate", "zfs-2.4.0-rc1\nzfs-kmod-2.4.0-rc1\n", Version{2, 4, 0}, Version{2, 4, 0}},
		{"master", "zfs-2.4.99-123_gabcdef\nzfs-kmod-2.4.99-123_gabcdef\n", Version{2, 4, 99}, Version{2, 4, 99}},
		{"no kernel", "zfs-2.3.2-1\n", Version{2, 3, 2}, Version{}},
		{"two numbers, after noise", "hello\nzfs-0.8-1\n", Version{0, 8, 0}, Version{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := parseVersion(tt.out)
			if err != nil || f.Userland != tt.userland || f.Kernel != tt.kernel {
				t.Errorf("got %+v, %v", f, err)
			}
		})
	}
	for _, out := range []string{"", "zfs-kmod-2.3.2\n", "unrecognized command 'version'\n", "zfs-99999999999.1\n"} {
		if f, err := parseVersion(out); !errors.Is(err, ErrOutput) {
			t.Errorf("%q: got %+v, %v", out, f, err)
		}
	}
}

// peers.md 6.1, and decisions.md 21: what an old end lacks is known before it is asked for.
func TestHas(t *testing.T) {
	tests := []struct {
		userland, kernel Version
		feature          Feature
		want             bool
	}{
		{Version{2, 3, 2}, Version{2, 3, 2}, ReceiveAppend, true},
		{Version{2, 3, 1}, Version{2, 3, 1}, ReceiveAppend, false},
		{Version{2, 3, 2}, Version{2, 3, 0}, ReceiveAppend, false},
		{Version{2, 3, 2}, Version{}, ReceiveAppend, true},
		{Version{2, 1, 14}, Version{2, 1, 14}, SendTitle, false},
		{Version{2, 1, 15}, Version{2, 1, 15}, SendTitle, true},
		{Version{2, 2, 0}, Version{2, 2, 0}, SendTitle, true},
		{Version{2, 1, 99}, Version{2, 1, 99}, SnapshotsChanged, false},
		{Version{2, 0, 0}, Version{2, 0, 0}, CreateUnmounted, true},
		{Version{0, 8, 6}, Version{0, 8, 6}, CreateUnmounted, false},
		{Version{3, 0, 0}, Version{3, 0, 0}, SendRaw, true},
		{Version{}, Version{}, CreateUnmounted, false},
		{Version{3, 0, 0}, Version{}, "unheard of", false},
	}
	for _, tt := range tests {
		f := Features{Userland: tt.userland, Kernel: tt.kernel}
		if got := f.Has(tt.feature); got != tt.want {
			t.Errorf("%v with kernel %v has %q: %v, want %v", tt.userland, tt.kernel, tt.feature, got, tt.want)
		}
	}
	if got := (Version{2, 3, 2}).String() + " " + (Version{}).String(); got != "2.3.2 unknown" {
		t.Error(got)
	}
}

func TestFeaturesAreAskedForOnce(t *testing.T) {
	h := New(play(t,
		call{argv: "zfs version", stderr: "The ZFS modules are not loaded.", err: exitStatus(1)},
		call{argv: "zfs version", stdout: "zfs-2.3.2-1\n"}), Options{})
	if _, err := h.Features(t.Context()); !errors.Is(err, ErrNoModule) {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if f, err := h.Features(t.Context()); err != nil || !f.AtLeast(2, 3, 2) || f.AtLeast(2, 3, 3) {
			t.Errorf("got %v, %v", f, err)
		}
	}
}

// FuzzVersion: a version is found or the output is refused, and no version is negative.
func FuzzVersion(f *testing.F) {
	f.Add("zfs-2.3.2-2~bpo12+2\nzfs-kmod-2.3.2-2~bpo12+2\n")
	f.Add("zfs-2.1.14-FreeBSD_gd99134be8\n")
	f.Add("zfs-0.0.0\n")
	f.Fuzz(func(t *testing.T, out string) {
		got, err := parseVersion(out)
		if (err == nil) == (got.Userland == Version{}) {
			t.Fatalf("%+v, %v", got, err)
		}
		for _, v := range []Version{got.Userland, got.Kernel} {
			if v.Major < 0 || v.Minor < 0 || v.Patch < 0 || v.Less(v) {
				t.Errorf("version %v", v)
			}
		}
	})
}
