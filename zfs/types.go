package zfs

import (
	"context"
	"io"
)

// Type is the kind of a dataset.
type Type string

// The types of datasets that are replicated.
const (
	Filesystem Type = "filesystem"
	Volume     Type = "volume"
)

// Dataset is a filesystem or volume as one listing shows it.
type Dataset struct {
	Name           string
	Type           Type
	GUID           uint64
	Encryption     string // "off", or the algorithm
	KeyStatus      string // "available", "unavailable", or "-"
	EncryptionRoot string // "" where the dataset is not encrypted
	ResumeToken    string // of an interrupted receive, or ""
	ReadOnly       bool
	Mounted        bool
	Mountpoint     string
	Inconsistent   bool  // true while its first receive is incomplete
	Used           int64 // bytes, with snapshots and children
	Referenced     int64 // bytes
	Available      int64 // bytes
	Written        int64 // bytes since the newest snapshot
}

// Encrypted tells whether the dataset's data is encrypted at rest.
func (d Dataset) Encrypted() bool {
	return d.Encryption != "" && d.Encryption != "off" && d.Encryption != "-"
}

// Snapshot is a snapshot or a bookmark. It is identified by its GUID; the name only selects.
type Snapshot struct {
	Dataset   string
	Name      string // without dataset and separator
	Bookmark  bool
	GUID      uint64
	CreateTXG uint64 // orders the snapshots of one pool; means nothing on another
}

// String returns the full name, dataset@snapshot or dataset#bookmark.
func (s Snapshot) String() string {
	if s.Bookmark {
		return s.Dataset + "#" + s.Name
	}
	return s.Dataset + "@" + s.Name
}

// Send is one stream that zfs send is to make.
type Send struct {
	Snapshot      string // dataset@snapshot, the last one in the stream
	From          string // incremental base: @snapshot or #bookmark of the same dataset; "" for a full stream
	Intermediates bool   // carry every snapshot between From and Snapshot (-I); From must be a snapshot
	Raw           bool   // -w
	LargeBlocks   bool   // -L
	Compressed    bool   // -c
	Token         string // resume an interrupted receive; every other field is ignored
}

// Receive is one stream that zfs receive is to take. It keeps its state when it is interrupted (-s) and mounts nothing (-u).
type Receive struct {
	Dataset string
	Force   bool              // -F: the caller has proved that nothing is lost
	Set     map[string]string // -o
	Exclude []string          // -x
}

// Token is what a resume token says about the stream that it continues.
type Token struct {
	ToName      string // dataset@snapshot on the sending side when the stream began
	ToGUID      uint64
	FromGUID    uint64 // 0 for a full stream
	Bytes       int64  // already received
	Object      uint64
	Offset      uint64
	Raw         bool
	Compressed  bool
	LargeBlocks bool
	Embedded    bool
	Size        int64 // estimate of what is left, bytes; -1 where zfs gives none
}

// Runner starts commands on one system. Its methods use types of the standard library only, so that an implementation
// needs to know nothing of this package.
type Runner interface {
	// Output runs argv to its end and returns what it wrote. The error of a command that ran and failed has a method
	// ExitCode() int.
	Output(ctx context.Context, argv []string) (stdout []byte, stderr string, err error)
	// Stream runs commands one after the other, each only if the one before it succeeded, all with the same stdin and
	// stdout; nil means none. An error of stdin other than io.EOF is a broken stream: the command is ended and gets no
	// clean end of its input. started, if not nil, is called before a byte flows, with the pid of what runs and the time
	// it started, an opaque text; its error stops the stream. Stream returns when nothing that it started is still at
	// work; if ctx ended, with its cause.
	Stream(ctx context.Context, commands [][]string, stdin io.Reader, stdout io.Writer, started func(pid int, start string) error) (stderr string, err error)
}
