package archtest

import (
	"fmt"
	"go/ast"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	maxFile     = 400 // lines of a file that is not a test
	maxFunction = 80  // lines of a function that is not a test
)

// docs finds packages without a doc comment, or with two.
func docs(tree fs.FS) ([]string, error) {
	all, err := parse(tree)
	if err != nil {
		return nil, err
	}
	documented := make(map[string]int)
	for _, s := range all {
		// An external test package documents nothing but itself.
		if strings.HasSuffix(s.file.Name.Name, "_test") {
			continue
		}
		if s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != "" {
			documented[s.pkg]++
		} else {
			documented[s.pkg] += 0
		}
	}
	var faults []string
	for _, pkg := range slices.Sorted(maps.Keys(documented)) {
		if n := documented[pkg]; n != 1 {
			faults = append(faults, fmt.Sprintf("%s: has %d package comments, want 1", pkg, n))
		}
	}
	return faults, nil
}

// sizes finds files and functions that have grown too long to be read at once.
func sizes(tree fs.FS) ([]string, error) {
	all, err := parse(tree)
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, s := range all {
		if s.test {
			continue
		}
		if n := s.lines(); n > maxFile {
			faults = append(faults, fmt.Sprintf("%s: %d lines, at most %d", s.name, n, maxFile))
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if n > maxFunction {
				faults = append(faults, fmt.Sprintf("%s: %s has %d lines, at most %d", s.name, f.Name.Name, n, maxFunction))
			}
		}
	}
	return faults, nil
}

// unwanted are texts that no file of the project holds. They are put together here so that this file passes too.
var unwanted = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"a path of somebody's machine", regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/` + `(work|farm|Users|home/[a-z]+)/`)},
	// Mirrors are taken from the set-up of the machine, so that builds work behind any of them.
	{"a package mirror", regexp.MustCompile(`(deb|security)\.` + `debian\.org|proxy\.` + `golang\.org|registry\.` + `npmjs\.org`)},
	{"work left for later", regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)},
}

// texts looks for what is unwanted in every text file.
func texts(tree fs.FS) ([]string, error) {
	var faults []string
	err := walk(tree, func(name string) error {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if strings.ContainsRune(string(text[:min(len(text), 8000)]), 0) {
			return nil // not text
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			for _, u := range unwanted {
				if found := u.pattern.FindString(line); found != "" {
					faults = append(faults, fmt.Sprintf("%s:%d: %s: %q", name, number, u.what, found))
				}
			}
		}
		return nil
	})
	return faults, err
}
