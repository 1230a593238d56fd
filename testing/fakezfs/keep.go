package fakezfs

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// keeper holds the state of a system. Functions given to it run alone (update) or among readers (view) and must not block.
type keeper interface {
	// update keeps what fn did to the state, unless fn returned an error. A state in memory is not restored after an
	// error: functions check first and change then.
	update(fn func(*state) error) error
	view(fn func(*state) error) error
}

// memory keeps the state in memory.
type memory struct {
	mu    sync.RWMutex
	state *state // guarded by mu
}

func (m *memory) update(fn func(*state) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fn(m.state)
}

func (m *memory) view(fn func(*state) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return fn(m.state)
}

// disk keeps the state in one file, which is replaced whole; a second file is the lock, so that it never moves.
type disk struct {
	file, lock string
}

func (k *disk) update(fn func(*state) error) error {
	return k.locked(syscall.LOCK_EX, func() error {
		st, err := k.load()
		if err != nil {
			return err
		}
		if err := fn(st); err != nil {
			return err
		}
		return k.save(st)
	})
}

func (k *disk) view(fn func(*state) error) error {
	return k.locked(syscall.LOCK_SH, func() error {
		st, err := k.load()
		if err != nil {
			return err
		}
		return fn(st)
	})
}

func (k *disk) locked(how int, fn func() error) error {
	f, err := os.OpenFile(k.lock, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // which gives the lock back
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return err
	}
	return fn()
}

func (k *disk) load() (*state, error) {
	st := newState()
	data, err := os.ReadFile(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, st); err != nil {
		return nil, err
	}
	if st.Died == nil {
		st.Died = map[string]bool{}
	}
	st.reap()
	return st, nil
}

// save needs no fsync: what must survive is the death of a process, not that of the machine.
func (k *disk) save(st *state) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.file+".new", data, 0o666); err != nil {
		return err
	}
	return os.Rename(k.file+".new", k.file)
}

// appendLog adds a line to the log of commands; one write, so lines of several processes do not mix.
func appendLog(file string, argv []string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if line, err := json.Marshal(argv); err == nil {
		_, _ = f.Write(append(line, '\n'))
	}
}

func readLog(file string) [][]string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var all [][]string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var argv []string
		if json.Unmarshal(lines.Bytes(), &argv) == nil {
			all = append(all, argv)
		}
	}
	return all
}
