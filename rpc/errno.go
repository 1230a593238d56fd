package rpc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Errno is the number of an error on the wire: Linux's numbers, and the API's own from 201.
type Errno int

// The numbers that callers name.
const (
	EPERM           Errno = 1
	ENOENT          Errno = 2
	EINTR           Errno = 4
	EIO             Errno = 5
	EAGAIN          Errno = 11
	ENOMEM          Errno = 12
	EACCES          Errno = 13
	EFAULT          Errno = 14
	EBUSY           Errno = 16
	EEXIST          Errno = 17
	ENODEV          Errno = 19
	EINVAL          Errno = 22
	EFBIG           Errno = 27
	ENOSPC          Errno = 28
	EROFS           Errno = 30
	EBADMSG         Errno = 74
	EPROTONOSUPPORT Errno = 93
	EOPNOTSUPP      Errno = 95
	ECONNABORTED    Errno = 103
	ECONNRESET      Errno = 104
	ETOOMANYREFS    Errno = 109
	ETIMEDOUT       Errno = 110
	ECONNREFUSED    Errno = 111
	EHOSTUNREACH    Errno = 113
	ECANCELED       Errno = 125

	ENOMETHOD                 Errno = 201
	ESERVICESTARTFAILURE      Errno = 202
	EALERTCHECKERUNAVAILABLE  Errno = 203
	EREMOTENODEERROR          Errno = 204
	EDATASETISLOCKED          Errno = 205
	EINVALIDRRDTIMESTAMP      Errno = 206
	ENOTAUTHENTICATED         Errno = 207
	ESSLCERTVERIFICATIONERROR Errno = 208
	EREBOOTREQUIRED           Errno = 209
	EHAUNAVAILABLE            Errno = 210
)

// Name is the symbol of e, such as "EFAULT", and "EUNKNOWN" for a number that has none.
func (e Errno) Name() string {
	switch e {
	case ENOMETHOD:
		return "ENOMETHOD"
	case ESERVICESTARTFAILURE:
		return "ESERVICESTARTFAILURE"
	case EALERTCHECKERUNAVAILABLE:
		return "EALERTCHECKERUNAVAILABLE"
	case EREMOTENODEERROR:
		return "EREMOTENODEERROR"
	case EDATASETISLOCKED:
		return "EDATASETISLOCKED"
	case EINVALIDRRDTIMESTAMP:
		return "EINVALIDRRDTIMESTAMP"
	case ENOTAUTHENTICATED:
		return "ENOTAUTHENTICATED"
	case ESSLCERTVERIFICATIONERROR:
		return "ESSLCERTVERIFICATIONERROR"
	case EREBOOTREQUIRED:
		return "EREBOOTREQUIRED"
	case EHAUNAVAILABLE:
		return "EHAUNAVAILABLE"
	}
	if name := unix.ErrnoName(syscall.Errno(e)); e > 0 && name != "" {
		return name
	}
	return "EUNKNOWN"
}
