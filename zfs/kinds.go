package zfs

import (
	"errors"
	"strings"
)

// The kinds of failure that a caller may act on. Test with errors.Is.
var (
	ErrNotExist     = errors.New("dataset does not exist")
	ErrExist        = errors.New("dataset already exists")
	ErrBusy         = errors.New("dataset is busy") // before 2.4 also a snapshot that is held
	ErrHeld         = errors.New("snapshot is held")
	ErrHasClones    = errors.New("snapshot has clones")
	ErrHasChildren  = errors.New("dataset has children")
	ErrPermission   = errors.New("permission denied")
	ErrSudo         = errors.New("sudo does not run zfs for this user")
	ErrNoZFS        = errors.New("zfs not found")
	ErrNoModule     = errors.New("zfs is not loaded in the kernel")
	ErrNoSpace      = errors.New("out of space")
	ErrQuota        = errors.New("quota exceeded")
	ErrIO           = errors.New("pool cannot be read or written")
	ErrModified     = errors.New("destination has been modified")
	ErrNoMatch      = errors.New("most recent snapshot does not match")
	ErrNewer        = errors.New("more recent snapshots exist")
	ErrPartial      = errors.New("destination holds an interrupted receive")
	ErrNoState      = errors.New("no interrupted receive to abort")
	ErrTokenStale   = errors.New("what the resume token continues no longer exists")
	ErrTokenCorrupt = errors.New("resume token is corrupt")
	ErrIncomplete   = errors.New("stream is incomplete")
	ErrBase         = errors.New("incremental base is not an earlier snapshot")
	ErrLargeBlocks  = errors.New("stream lacks the large blocks of the one before")
	ErrKey          = errors.New("encryption key is missing or wrong")
	ErrEncryption   = errors.New("encryption of stream and destination do not go together")
	ErrProperty     = errors.New("property or value is not valid there")
	ErrUnsupported  = errors.New("not supported by the zfs of that system")

	// errNotMounted is a create that did all it was wanted for.
	errNotMounted = errors.New("created but not mounted")
)

// kinds is the only place that reads the wording of zfs and sudo. It goes by fragments, in lower case, for releases word
// the same thing differently. A command may say several things: the first of the table that it said counts.
var kinds = []struct {
	fragment string
	kind     error
}{
	{"sudo: not found", ErrSudo},
	{"sudo: command not found", ErrSudo},
	{"a password is required", ErrSudo},
	{"is required to read the password", ErrSudo},
	{"interactive authentication is required", ErrSudo},
	{"must have a tty to run sudo", ErrSudo},
	{"is not in the sudoers file", ErrSudo},
	{"may not run sudo", ErrSudo},
	{"is not allowed to execute", ErrSudo},
	{"command not found", ErrNoZFS},
	{"the zfs modules", ErrNoModule},
	{"/dev/zfs and", ErrNoModule},
	{"failed to initialize zfs library", ErrNoModule},

	{"no longer the same snapshot used in the initial send", ErrTokenStale},
	{"used in the initial send no longer exists", ErrTokenStale},
	{"cannot resume send: incremental source", ErrTokenStale},
	{"resume token is corrupt", ErrTokenCorrupt},
	{"does not have any resumable receive state", ErrNoState},
	{"partially-complete state", ErrPartial},

	{"space quota exceeded", ErrQuota},
	{"out of space", ErrNoSpace},
	{"key must be loaded", ErrKey},
	{"key too short", ErrKey},
	{"key too long", ErrKey},
	{"passphrase too", ErrKey},
	{"key material", ErrKey},
	{"without the raw flag", ErrEncryption},
	{"cannot perform raw receive on top of", ErrEncryption},
	{"cannot be used to destroy an encrypted filesystem", ErrEncryption},
	{"encryption key does not match", ErrEncryption},
	{"iv set guid", ErrEncryption},
	{"incompatible embedded data stream", ErrEncryption},
	{"must be upgraded", ErrUnsupported},
	{"must be updated", ErrUnsupported},
	{"crypto parameters not compatible", ErrUnsupported},
	{"unsupported version", ErrUnsupported},
	{"operation not supported", ErrUnsupported},
	{"requires -l (--large-block)", ErrLargeBlocks},

	{"match incremental source", ErrNoMatch},
	{"has been modified since most recent snapshot", ErrModified},
	{"more recent snapshots", ErrNewer},
	{"not an earlier snapshot", ErrBase},
	{"cannot be sent from a bookmark", ErrBase},
	{"being held", ErrHeld},
	{"has dependent clones", ErrHasClones},
	{"snapshot is cloned", ErrHasClones},
	{"has children", ErrHasChildren},
	{"is busy", ErrBusy},
	{"resource busy", ErrBusy},
	{"i/o is currently suspended", ErrIO},
	{"i/o error", ErrIO},
	{"input/output error", ErrIO},
	{"pool is unavailable", ErrIO},

	{"successfully created, but", errNotMounted},
	{"apply to datasets of this type", ErrProperty},
	{"invalid property", ErrProperty},
	{"bad property list", ErrProperty},
	{"read only property", ErrProperty},
	{"invalid option", ErrUnsupported},

	{"does not exist", ErrNotExist},
	{"no such pool", ErrNotExist},
	{"no such tag", ErrNotExist},
	{"could not find any snapshots to destroy", ErrNotExist},
	{"already exists", ErrExist},
	{"bookmark exists", ErrExist},
	{"pool or dataset exists", ErrExist},
	{"to overwrite it", ErrExist},
	{"on existing dataset without force", ErrExist},
	{"permission denied", ErrPermission},
	{"insufficient privileges", ErrPermission},
	{"delegated administration is disabled", ErrPermission},

	// Last: this is what the receiver says when the sender failed, and it may have said more before.
	{"incomplete stream", ErrIncomplete},
	{"failed to read from stream", ErrIncomplete},
}

// kindOf finds the kind of a message, nil if nothing in the table fits. What zfs says about single properties is why it
// failed only if it says nothing else.
func kindOf(stderr string) error {
	var failure, warnings []string
	for _, line := range complaints(stderr) {
		words := strings.Join(strings.Fields(strings.ToLower(line)), " ")
		if strings.HasPrefix(words, "warning: ") && !strings.HasPrefix(words, "warning: cannot send") ||
			strings.HasPrefix(words, "cannot receive ") && strings.Contains(words, " property on ") {
			warnings = append(warnings, words)
		} else {
			failure = append(failure, words)
		}
	}
	if len(failure) == 0 {
		failure = warnings
	}
	text := strings.Join(failure, " ") // a sentence may go over two lines
	for _, k := range kinds {
		if strings.Contains(text, k.fragment) {
			return k.kind
		}
	}
	return nil
}
