package zfs

import (
	"errors"
	"strings"
)

// The kinds of failure that a caller may act on. Test with errors.Is.
var (
	ErrNotExist     = errors.New("dataset does not exist")
	ErrExist        = errors.New("dataset already exists")
	ErrBusy         = errors.New("dataset is busy")
	ErrHeld         = errors.New("snapshot is held")
	ErrHasClones    = errors.New("snapshot has clones")
	ErrHasChildren  = errors.New("dataset has children")
	ErrPermission   = errors.New("permission denied")
	ErrSudo         = errors.New("sudo does not let the user run zfs")
	ErrNoZFS        = errors.New("zfs not found")
	ErrNoSpace      = errors.New("out of space")
	ErrQuota        = errors.New("quota exceeded")
	ErrModified     = errors.New("destination has been modified")
	ErrNoMatch      = errors.New("most recent snapshot does not match")
	ErrNewer        = errors.New("more recent snapshots exist")
	ErrPartial      = errors.New("destination holds an interrupted receive")
	ErrNoState      = errors.New("no interrupted receive to abort")
	ErrTokenStale   = errors.New("what the resume token continues no longer exists")
	ErrTokenCorrupt = errors.New("resume token is corrupt")
	ErrIncomplete   = errors.New("stream is incomplete")
	ErrBase         = errors.New("incremental base is not an earlier snapshot")
	ErrKey          = errors.New("encryption key is not loaded")
	ErrProperty     = errors.New("property does not fit")
)

// kinds is the only place that reads the wording of zfs. It goes by fragments, for releases word the same thing
// differently; the first that is found counts. White space in a message is taken as one space.
var kinds = []struct {
	fragment string
	kind     error
}{
	{"a password is required", ErrSudo},
	{"used in the initial send no longer exists", ErrTokenStale},
	{"resume token is corrupt", ErrTokenCorrupt},
	{"checksum mismatch or incomplete stream", ErrIncomplete},
	{"does not have any resumable receive state", ErrNoState},
	{"partially-complete state", ErrPartial},
	{"match incremental source", ErrNoMatch},
	{"has been modified since most recent snapshot", ErrModified},
	{"more recent snapshots", ErrNewer},
	{"not an earlier snapshot", ErrBase},
	{"cannot be sent from a bookmark", ErrBase},
	{"being held", ErrHeld},
	{"has dependent clones", ErrHasClones},
	{"has children", ErrHasChildren},
	{"is busy", ErrBusy},
	{"quota exceeded", ErrQuota},
	{"out of space", ErrNoSpace},
	{"key must be loaded", ErrKey},
	{"does not apply to datasets of this type", ErrProperty},
	{"does not exist", ErrNotExist},
	{"no such pool", ErrNotExist},
	{"could not find any snapshots to destroy", ErrNotExist},
	{"already exists", ErrExist},
	{"bookmark exists", ErrExist},
	{"must specify -F to overwrite it", ErrExist},
	{"must destroy them to overwrite it", ErrExist},
	{"permission denied", ErrPermission},
	{"failed to read from stream", ErrIncomplete},
}

// kindOf finds the kind of a message, nil if nothing in the table fits.
func kindOf(stderr string) error {
	text := strings.Join(strings.Fields(stderr), " ")
	for _, k := range kinds {
		if strings.Contains(text, k.fragment) {
			return k.kind
		}
	}
	return nil
}
