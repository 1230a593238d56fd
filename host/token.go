package host

import (
	"slices"
	"sync"

	"github.com/zferry/zferry/plugin/boundary"
)

// maxTokens is how many tokens may be unused at a time. Beyond that the oldest is good for nothing any more: each was given to
// a plugin that has been given another since, or has never come.
const maxTokens = 16

// tokens are the registration tokens that nobody has used.
type tokens struct {
	file string // kept filled with one of them; "" is none

	mu     sync.Mutex // guards the fields below
	unused []digest   // oldest first
	inFile digest
}

// issue makes a token.
func (t *tokens) issue() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.issueLocked()
}

func (t *tokens) issueLocked() string {
	token := newSecret()
	t.addLocked(digestOf(token))
	return token
}

func (t *tokens) addLocked(d digest) {
	t.unused = append(t.unused, d)
	if len(t.unused) > maxTokens {
		// The file's is good until it is used.
		oldest := 0
		if t.file != "" && t.unused[0] == t.inFile {
			oldest = 1
		}
		t.unused = slices.Delete(t.unused, oldest, oldest+1)
	}
}

// giveBack makes a token good again that was used for nothing.
func (t *tokens) giveBack(d digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addLocked(d)
}

// valid tells whether nobody has used the token.
func (t *tokens) valid(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.unused, digestOf(token))
}

// use makes the token good for nothing and tells whether it was good. When it was the file's, the file gets a new one.
func (t *tokens) use(token string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := digestOf(token)
	i := slices.Index(t.unused, d)
	if i < 0 {
		return false, nil
	}
	t.unused = slices.Delete(t.unused, i, i+1)
	if t.file != "" && d == t.inFile {
		return true, t.fillLocked()
	}
	return true, nil
}

// fill writes a new token to the file, if there is to be one.
func (t *tokens) fill() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == "" {
		return nil
	}
	return t.fillLocked()
}

func (t *tokens) fillLocked() error {
	token := t.issueLocked()
	t.inFile = digestOf(token)
	return boundary.WriteFile(t.file, []byte(token))
}
