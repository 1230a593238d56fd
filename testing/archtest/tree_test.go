// Package archtest holds the rules of ARCHITECTURE.md and CONTRIBUTING.md that can be read off the files: who imports
// whom, documented packages, sizes, and words that do not belong here.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
)

// source is one Go file.
type source struct {
	name string // slash-separated, from the root
	pkg  string // the folder it is in
	test bool
	fset *token.FileSet
	file *ast.File
}

func (s source) lines() int { return s.fset.File(s.file.FileStart).LineCount() }

// skipped tells which folders hold nothing that is written by hand here.
func skipped(dir string) bool {
	base := path.Base(dir)
	return dir == "bin" || dir == "build" || base == "node_modules" || base == "dist" ||
		base != "." && strings.HasPrefix(base, ".") && base != ".ci"
}

// walk calls visit for every file of the tree.
func walk(tree fs.FS, visit func(name string) error) error {
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return visit(name)
	})
}

// parse reads every Go file that is not generated. It reads the files itself: what a go list run by the test reads is
// unknown to the test cache, and an old pass would be served for a new fault.
func parse(tree fs.FS) ([]source, error) {
	var all []source
	err := walk(tree, func(name string) error {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "/testdata/") {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		all = append(all, source{
			name: name,
			pkg:  path.Dir(name),
			test: strings.HasSuffix(name, "_test.go"),
			fset: fset,
			file: file,
		})
		return nil
	})
	return all, err
}

func root() fs.FS { return os.DirFS("../..") }

// rule finds what is wrong in a tree, a line per fault.
type rule func(fs.FS) ([]string, error)

// TestTree holds this project to every rule.
func TestTree(t *testing.T) {
	rules := map[string]rule{
		"imports": imports,
		"docs":    docs,
		"sizes":   sizes,
		"texts":   texts,
	}
	for name, check := range rules {
		t.Run(name, func(t *testing.T) {
			faults, err := check(root())
			if err != nil {
				t.Fatal(err)
			}
			for _, fault := range faults {
				t.Error(fault)
			}
		})
	}
}
