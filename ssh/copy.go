package ssh

import "io"

// copied is how a copy ended, by the end that failed.
type copied struct{ read, write error }

// copyIn sends stdin to the command and, if stdin ended well, the end of its input.
func (s *stream) copyIn(stdin io.Reader) <-chan copied {
	done := make(chan copied, 1)
	if stdin == nil {
		_ = s.stdin.Close()
		done <- copied{}
		return done
	}
	// Ends with stdin, or when the connection or the command does; in a blocked Read it stays until the caller closes
	// what it reads from.
	go func() {
		buf := make([]byte, chunk)
		for {
			n, readErr := stdin.Read(buf)
			if n > 0 {
				if _, err := s.stdin.Write(buf[:n]); err != nil {
					done <- copied{write: err}
					return
				}
			}
			if readErr == io.EOF {
				_ = s.stdin.Close()
				done <- copied{}
				return
			}
			if readErr != nil {
				done <- copied{read: readErr}
				return
			}
		}
	}()
	return done
}

// copyOut passes on what the command writes, beginning with head, and gets the error of stdout, if any.
func (s *stream) copyOut(head []byte, stdout io.Writer) <-chan error {
	done := make(chan error, 1)
	if stdout == nil {
		stdout = io.Discard
	}
	// Ends with the output of the command or with an error of stdout; in a blocked Write it stays until the caller closes
	// what it writes to.
	go func() {
		if len(head) > 0 {
			if _, err := stdout.Write(head); err != nil {
				done <- err
				return
			}
		}
		buf := make([]byte, chunk)
		for {
			n, readErr := s.stdout.Read(buf)
			if n > 0 {
				if _, err := stdout.Write(buf[:n]); err != nil {
					done <- err
					return
				}
			}
			if readErr != nil { // io.EOF; how the command ended says the rest
				done <- nil
				return
			}
		}
	}()
	return done
}
