package archtest

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/zferry/zferry/"

// allowed lists, for each package of ours, the packages of ours that it may import. A package missing here is a fault,
// so nobody adds one by accident. What is under testing imports what it likes; only tests and commands import it.
var allowed = map[string][]string{
	"faults":            {},
	"zfs":               {},
	"ssh":               {},
	"pythonre":          {},
	"rpc":               {},
	"rpc/filter":        {"pythonre"},
	"jobs":              {},
	"store":             {},
	"transport":         {"ssh"},
	"replication":       {"transport", "zfs"},
	"keychain":          {"faults", "ssh", "store"},
	"tasks":             {"faults", "jobs", "pythonre", "replication", "ssh", "store", "transport", "zfs"},
	"methods":           {"faults", "jobs", "keychain", "pythonre", "replication", "rpc", "rpc/filter", "ssh", "store", "tasks"},
	"plugin/boundary":   {},
	"plugin":            {"jobs", "keychain", "methods", "plugin/boundary", "rpc", "store", "tasks"},
	"host":              {"host/state", "plugin/boundary", "rpc", "rpc/filter"},
	"host/state":        {},
	"cmd/zferry":        {"host", "replication", "rpc", "ssh", "testing/lab", "transport", "zfs"},
	"cmd/zferry-plugin": {"plugin"},
}

// anywhere stands for every package, inTests for test files and what is under testing.
const (
	anywhere = "*"
	inTests  = "testing"
)

// owners names the packages that may import a third-party module or a part of one; the longest match counts. A module
// missing here is a fault: a new dependency is a decision, and ARCHITECTURE.md says why it was taken.
var owners = map[string][]string{
	"github.com/dlclark/regexp2":           {"pythonre", "rpc/filter"},
	"github.com/google/go-cmp":             {inTests},
	"github.com/gorilla/websocket":         {"rpc", inTests},
	"github.com/hashicorp/go-hclog":        {"host", "plugin", "plugin/boundary"},
	"github.com/hashicorp/go-plugin":       {"host", "plugin", "plugin/boundary", inTests},
	"github.com/itchyny/timefmt-go":        {"replication"},
	"github.com/pressly/goose":             {"host/state", "store"},
	"github.com/rogpeppe/go-internal":      {inTests},
	"github.com/skeema/knownhosts":         {"ssh", inTests},
	"github.com/sourcegraph/jsonrpc2":      {"rpc"},
	"github.com/spf13/cobra":               {"cmd/zferry", "plugin"},
	"github.com/spf13/pflag":               {"cmd/zferry"},
	"github.com/vbauerster":                {"cmd/zferry"},
	"go.uber.org/goleak":                   {inTests},
	"golang.org/x/crypto":                  {"ssh", inTests},
	"golang.org/x/crypto/chacha20poly1305": {"store"},
	"golang.org/x/sync":                    {anywhere},
	"golang.org/x/sys":                     {anywhere},
	"golang.org/x/term":                    {"cmd/zferry"},
	"google.golang.org/grpc":               {"host", "plugin", "plugin/boundary", inTests},
	"google.golang.org/protobuf":           {"plugin/boundary"},
	"modernc.org/sqlite":                   {"host/state", "store"},
	"pgregory.net/rapid":                   {inTests},
}

// imports checks both tables.
func imports(tree fs.FS) ([]string, error) {
	all, err := parse(tree)
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, s := range all {
		if _, known := allowed[s.pkg]; !known && !underTesting(s.pkg) {
			faults = append(faults, fmt.Sprintf("%s: package %s has no entry in allowed", s.name, s.pkg))
		}
		for _, spec := range s.file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			if why := refuse(s, imported); why != "" {
				faults = append(faults, s.name+": "+why)
			}
		}
	}
	return faults, nil
}

func underTesting(pkg string) bool { return strings.HasPrefix(pkg, "testing/") }

// refuse tells why the file must not import the package, or nothing.
func refuse(s source, imported string) string {
	if ours, ok := strings.CutPrefix(imported, module); ok {
		if s.test || underTesting(s.pkg) || slices.Contains(allowed[s.pkg], ours) {
			return ""
		}
		return fmt.Sprintf("%s must not import %s", s.pkg, ours)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	who, known := ownersOf(imported)
	switch {
	case !known:
		return imported + " has no entry in owners"
	case slices.Contains(who, anywhere), slices.Contains(who, s.pkg):
		return ""
	case slices.Contains(who, inTests) && (s.test || underTesting(s.pkg)):
		return ""
	}
	return fmt.Sprintf("only %s may import %s", strings.Join(who, ", "), imported)
}

// ownersOf finds the longest entry that the import lies under.
func ownersOf(imported string) (who []string, known bool) {
	longest := ""
	for prefix, names := range owners {
		if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && len(prefix) > len(longest) {
			longest, who = prefix, names
		}
	}
	return who, longest != ""
}
