package transport

import "sync"

// bufferSize is how far the sending end may run ahead of the receiving one, in bytes.
const bufferSize = 4 << 20

// buffer is a bounded pipe for one writer and one reader, who work at the same time: each copies in its own part of the
// ring without holding the lock.
type buffer struct {
	ring []byte

	mu       sync.Mutex // guards the fields below
	changed  *sync.Cond
	read     int64 // bytes taken out since the start
	written  int64 // bytes put in since the start
	writeErr error // what the reader gets once the ring is empty; nil while the writer works
	readErr  error // what the writer gets at once; nil while the reader works
}

func newBuffer(size int) *buffer {
	b := &buffer{ring: make([]byte, size)}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// Write implements io.Writer. It blocks while the ring is full and fails once the reader has gone.
func (b *buffer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		room, err := b.waitForRoom()
		if err != nil {
			return n, err
		}
		k := copy(room, p)
		b.mu.Lock()
		b.written += int64(k)
		b.changed.Broadcast()
		b.mu.Unlock()
		n, p = n+k, p[k:]
	}
	return n, nil
}

func (b *buffer) waitForRoom() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.readErr == nil && b.written-b.read == int64(len(b.ring)) {
		b.changed.Wait()
	}
	if b.readErr != nil {
		return nil, b.readErr
	}
	size := int64(len(b.ring))
	from := b.written % size
	free := size - (b.written - b.read)
	return b.ring[from:min(size, from+free)], nil
}

// Read implements io.Reader.
func (b *buffer) Read(p []byte) (int, error) {
	data, err := b.waitForData()
	if err != nil {
		return 0, err
	}
	k := copy(p, data)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += int64(k)
	b.changed.Broadcast()
	return k, nil
}

func (b *buffer) waitForData() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.readErr == nil && b.writeErr == nil && b.written == b.read {
		b.changed.Wait()
	}
	if b.readErr != nil {
		return nil, b.readErr
	}
	if b.written == b.read {
		return nil, b.writeErr
	}
	size := int64(len(b.ring))
	from := b.read % size
	return b.ring[from:min(size, from+b.written-b.read)], nil
}

// Close is the reader's way to say that it wants no more: both ends fail from now on.
func (b *buffer) Close() error {
	b.closeRead(errReaderGone)
	return nil
}

// closeWrite ends the stream: the reader gets err, io.EOF for a clean end, after what is still in the ring. Of a broken
// stream, too, the receiving end keeps what it got, and resumes behind it.
func (b *buffer) closeWrite(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writeErr == nil {
		b.writeErr = err
	}
	b.changed.Broadcast()
}

// closeRead makes the writer, and the reader if it still reads, fail with err.
func (b *buffer) closeRead(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readErr == nil {
		b.readErr = err
	}
	b.changed.Broadcast()
}

// drained tells whether everything that was written has been read.
func (b *buffer) drained() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read == b.written
}
