package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"time"

	"github.com/zferry/zferry/rpc"
)

// run starts the job and passes the files on, each as fast as the job reads it.
func (u *upload) run(ctx context.Context, who *identity, first *multipart.Part) (job int64, no *denial) {
	conn, err := u.route.plugin.connection()
	if err != nil {
		return 0, deny(http.StatusServiceUnavailable, "%v", err)
	}
	f := forwarded{Method: u.method, Params: u.params, Caller: u.session.caller(who, nil)}
	for range maxFiles {
		out := conn.NewOutput(conn.NextStream())
		u.outputs = append(u.outputs, out)
		f.MoreInputs = append(f.MoreInputs, out.ID())
	}
	f.Input, f.MoreInputs = f.MoreInputs[0], f.MoreInputs[1:]
	defer func() {
		for _, out := range u.outputs {
			out.Abort("there is no such file") // those that were written to the end are left alone
		}
	}()
	if err := conn.Call(ctx, "plugin.call", f, &job); err != nil {
		return 0, deny(http.StatusPreconditionFailed, "%v", err)
	}
	// A job that has ended reads no more, and might never have begun to.
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { // stop ends it
		defer close(watched)
		_, err := u.route.plugin.await(watching, job)
		if err == nil || ctx.Err() != nil {
			u.abort("the upload has ended")
		}
	}()
	defer func() {
		stop()
		<-watched
	}()
	no = u.copyAll(first)
	if no == nil && ctx.Err() != nil {
		return 0, deny(http.StatusServiceUnavailable, "the upload was cut off")
	}
	u.session.known(ctx, u.route.plugin, job)
	return job, no
}

func (u *upload) abort(reason string) {
	for _, out := range u.outputs {
		out.Abort(reason)
	}
}

// copyAll passes on all files. A job that wants no more is no fault.
func (u *upload) copyAll(part *multipart.Part) *denial {
	for _, out := range u.outputs {
		if enough, no := u.copy(out, part); enough || no != nil {
			return no
		}
		var err error
		part, err = u.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			u.abort("the upload was cut off")
			return deny(http.StatusBadRequest, "%v", err)
		case part.FormName() != "file":
			u.abort("the upload was refused")
			return deny(http.StatusMethodNotAllowed, "Unknown payload part '%s'", part.FormName())
		}
	}
	return deny(http.StatusMethodNotAllowed, "Too many uploaded files")
}

// copy passes on one file. enough tells that the job has ended or wants no more of it.
func (u *upload) copy(out *rpc.Output, part *multipart.Part) (enough bool, no *denial) {
	buffer := make([]byte, 64<<10)
	for {
		if err := u.control.SetReadDeadline(time.Now().Add(uploadStall)); err != nil {
			out.Abort("the upload was cut off")
			return false, deny(http.StatusInternalServerError, "%v", err)
		}
		n, err := part.Read(buffer)
		if n > 0 {
			if _, fault := out.Write(buffer[:n]); fault != nil {
				return ended(fault)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if fault := out.Close(); fault != nil {
				return ended(fault)
			}
			return false, nil
		case err != nil:
			out.Abort("the upload was cut off")
			return false, deny(http.StatusBadRequest, "the upload was cut off: %v", err)
		}
	}
}

// ended tells what it means that a stream to the plugin cannot be written.
func ended(err error) (enough bool, no *denial) {
	if _, byReader := errors.AsType[*rpc.AbortError](err); byReader || errors.Is(err, io.ErrClosedPipe) {
		return true, nil
	}
	return false, deny(http.StatusBadGateway, "%v", fmt.Errorf("the plugin is lost: %w", err))
}
