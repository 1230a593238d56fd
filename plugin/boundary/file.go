package boundary

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile puts a file of mode 0600 in place so that a reader finds the old text or the new one, never a part.
func WriteFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		// What matters is the first error; a folder that cannot be written to keeps the file.
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %v", path, err)
	}
	return nil
}

// privateFolder makes a folder that only its owner may enter, or takes what others may from the one that is there.
func privateFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, 0o700) //nolint:gosec // a folder that its owner must be able to enter
}
