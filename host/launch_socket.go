package host

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// socketRoom is what the kernel takes for the path of a socket, without the byte that ends it. What go-plugin calls its
// socket is at most as long as socketName.
const (
	socketRoom = 107
	socketName = "/plugin4294967295"
)

// socketFolder makes the folder for the plugin's socket, empty and closed to others: in its data folder, or, when the path
// would be too long for a socket, in one with a short path.
func socketFolder(dir string, log *slog.Logger) (string, error) {
	folder := filepath.Join(dir, "sock")
	if len(folder+socketName) <= socketRoom {
		return folder, emptyFolder(folder)
	}
	sum := sha256.Sum256([]byte(dir))
	short := "zferry-" + hex.EncodeToString(sum[:8])
	var first error
	for _, parent := range []string{"/run", os.TempDir()} {
		folder := filepath.Join(parent, short)
		if len(folder+socketName) > socketRoom {
			continue
		}
		err := emptyFolder(folder)
		if err == nil {
			log.Warn("the path of the data folder is too long for a socket", "dir", dir, "socket_dir", folder)
			return folder, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", fmt.Errorf("no folder for a socket, whose path may have %d bytes: %v", socketRoom, first)
}

// emptyFolder makes a folder of mode 0700, or empties the one that is there if it is ours.
func emptyFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if err == nil {
		return nil
	}
	info, statErr := os.Lstat(path)
	if statErr != nil {
		return err
	}
	// In a folder for everybody, somebody else may have been there first.
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a folder of ours", path)
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a folder that its owner must be able to enter
		return err
	}
	left, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range left {
		if err := os.RemoveAll(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
