package lab

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// recipe holds the scripts that build an image.
//
//go:embed recipe
var recipe embed.FS

// image is the disk, kernel and first RAM disk that all machines of a variant share.
type image struct{ dir string }

func (i *image) file(name string) string { return filepath.Join(i.dir, name) }

// ensureImage returns the image of a variant, building it first where it is not in the cache. The caller holds the
// lock of the cache if build is set; otherwise a missing image is fs.ErrNotExist.
func ensureImage(ctx context.Context, o Options, build bool) (*image, error) {
	key, err := recipeHash(recipe, o.Variant)
	if err != nil {
		return nil, err
	}
	img := &image{dir: filepath.Join(o.Dir, "image-"+o.Variant+"-"+key)}
	_, err = os.Stat(img.dir)
	if err == nil || !build || !errors.Is(err, fs.ErrNotExist) {
		return img, err
	}
	if err := installMissing(ctx, o.Progress, neededToBuild()); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(o.Dir, buildPrefix)
	if err != nil {
		return nil, err
	}
	defer removeAll(work) //nolint:errcheck // the next build sweeps what is left
	if err := buildImage(ctx, o, work); err != nil {
		return nil, fmt.Errorf("build the image: %w", err)
	}
	return img, os.Rename(filepath.Join(work, "out"), img.dir)
}

// recipeHash names an image by everything that decides what is in it.
func recipeHash(files fs.FS, variant string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", variant)
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		fmt.Fprintf(h, "%q %d\n", path, len(data))
		h.Write(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

// buildImage runs the recipe in work; what counts is in work/out afterwards.
func buildImage(ctx context.Context, o Options, work string) error {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return err
	}
	options, err := transferOptions(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(debianKeyring); err != nil {
		if err := installPackages(ctx, o.Progress, "debian-archive-keyring"); err != nil {
			return err
		}
	}
	scripts := filepath.Join(work, "recipe")
	if err := os.CopyFS(work, recipe); err != nil {
		return err
	}
	out := filepath.Join(work, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	argv := []string{
		"sh", filepath.Join(scripts, "guard.sh"),
		"sh", filepath.Join(scripts, "build.sh"), mirror, debianKeyring, o.Variant, out,
	}
	argv, err = privileged(append(argv, options...)...)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Progress, "lab: building the image with OpenZFS %s, once; this takes 5 to 10 minutes\n", o.Variant)
	began := time.Now()
	if err := runGuarded(ctx, o.Progress, argv); err != nil {
		return err
	}
	fmt.Fprintf(o.Progress, "lab: image built in %s\n", time.Since(began).Round(time.Second))
	return ownOutput(out)
}

// ownOutput gives the files a build left as root to whoever asked for them.
func ownOutput(out string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return runPrivileged("chown", "-R", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), out)
}

// removeAll removes a folder that may hold files of root.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil || os.Geteuid() == 0 {
		return err
	}
	return runPrivileged("rm", "-rf", "--one-file-system", "--", dir)
}

// copyFile copies by the quickest way the file system offers.
func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
