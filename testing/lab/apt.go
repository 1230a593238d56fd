package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// debianKeyring holds the keys that Debian's releases are signed with.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// needed lists the programs the lab calls, with Debian's packages that have them.
func needed() map[string]string {
	return map[string]string{emulator: "qemu-system-x86", "qemu-img": "qemu-utils"}
}

func neededToBuild() map[string]string {
	return map[string]string{"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "unshare": "util-linux"}
}

// installMissing installs the packages of those programs that are not there, with apt as root.
func installMissing(ctx context.Context, progress io.Writer, programs map[string]string) error {
	var packages []string
	for program, pkg := range programs {
		if _, err := exec.LookPath(program); err != nil {
			packages = append(packages, pkg)
		}
	}
	if len(packages) == 0 {
		return nil
	}
	return installPackages(ctx, progress, packages...)
}

func installPackages(ctx context.Context, progress io.Writer, packages ...string) error {
	slices.Sort(packages)
	names := strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("the lab needs %s, and there is no apt-get to install it", names)
	}
	fmt.Fprintf(progress, "lab: installing %s\n", names)
	install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)
	// Lists of other repositories may be out of order without harm, so only the install decides.
	update := apt(ctx, "update", "-q")
	if err := apt(ctx, append(slices.Clone(install), "--download-only")...); err != nil {
		return fmt.Errorf("install %s: %w", names, errors.Join(err, update))
	}
	// Not interrupted: packages installed by half would be a burden for the user's machine.
	if err := apt(context.WithoutCancel(ctx), install...); err != nil {
		return fmt.Errorf("install %s: %w", names, err)
	}
	return nil
}

func apt(ctx context.Context, args ...string) error {
	argv, err := privileged(append([]string{"apt-get", "-o", "DPkg::Lock::Timeout=600"}, args...)...)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args[:1], " "), err, lastLines(string(out), 5))
	}
	return nil
}

// privileged makes a command one that runs as root.
func privileged(argv ...string) ([]string, error) {
	if os.Geteuid() == 0 {
		return argv, nil
	}
	if exec.Command("sudo", "-n", "true").Run() != nil {
		return nil, fmt.Errorf("%s needs root, or sudo that asks for no password", argv[0])
	}
	return append([]string{"sudo", "-n"}, argv...), nil
}

func runPrivileged(argv ...string) error {
	argv, err := privileged(argv...)
	if err != nil {
		return err
	}
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, lastLines(string(out), 3))
	}
	return nil
}

// debianMirror finds where this machine's own apt gets Debian from.
func debianMirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format",
		"$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for its sources: %w", err)
	}
	mirror := parseMirror(string(out))
	if mirror == "" {
		return "", errors.New("apt's configuration names no source of a Debian release, from which the lab could be built: add one (apt edit-sources)")
	}
	return mirror, nil
}

var debianRelease = regexp.MustCompile(`^(bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)(-updates|-backports)?$`)

// parseMirror picks the source of a Debian release, not of its security updates, which are elsewhere, nor of another
// repository that uses the same release names. apt knows who publishes a repository only after its first update; until
// then the address has to tell.
func parseMirror(targets string) string {
	likely := "" // the answer if nothing better comes; "" is none
	for line := range strings.Lines(targets) {
		f := strings.SplitN(strings.TrimSpace(line), "|", 4)
		if len(f) < 4 || f[2] != "main" || !debianRelease.MatchString(f[1]) {
			continue
		}
		origin, uri := f[0], strings.TrimRight(f[3], "/")
		u, err := url.Parse(uri)
		if err != nil || u.Scheme == "cdrom" || u.Scheme == "file" || u.Scheme == "copy" {
			continue
		}
		if origin == "Debian" {
			return uri
		}
		unknown := origin == "" || strings.HasPrefix(origin, "$")
		if unknown && likely == "" && strings.Contains(u.Path, "debian") && !strings.Contains(u.Path, "security") {
			likely = uri
		}
	}
	return likely
}

// transferOptions are the settings with which this machine's apt reaches its mirror, such as a proxy.
func transferOptions(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil {
		return nil, fmt.Errorf("ask apt for its configuration: %w", err)
	}
	return parseTransfer(string(out)), nil
}

var transferOption = regexp.MustCompile(`^Acquire::(https?|Retries)(::[A-Za-z0-9:._-]+)? "[^"]+";$`)

func parseTransfer(dump string) []string {
	var options []string
	for line := range strings.Lines(dump) {
		if line = strings.TrimSpace(line); transferOption.MatchString(line) {
			options = append(options, strings.TrimSuffix(line, ";"))
		}
	}
	return options
}
