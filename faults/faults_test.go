package faults_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/faults"
)

func TestList(t *testing.T) {
	var l faults.List
	if err := l.Err(); err != nil {
		t.Errorf("no fault is the error %v", err)
	}
	l.Addf("name", "Object with this name already exists")
	l.Addf("source_datasets.0", "%d %% of '%s'", 100, "tank")
	want := faults.List{{Field: "name", Text: "Object with this name already exists"}, {Field: "source_datasets.0", Text: "100 % of 'tank'"}}
	got, ok := errors.AsType[faults.List](fmt.Errorf("create: %w", l.Err()))
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if text := l.Error(); text != "name: Object with this name already exists\nsource_datasets.0: 100 % of 'tank'" {
		t.Errorf("text %q", text)
	}
}

func TestNotFound(t *testing.T) {
	err := error(&faults.NotFound{Kind: "Replication", ID: 7})
	if err.Error() != "Replication 7 does not exist" {
		t.Errorf("1.3: text %q", err)
	}
	for e, want := range map[error]bool{
		err: true, fmt.Errorf("run: %w", err): true, errors.Join(errors.New("a"), err): true,
		errors.New("Replication 7 does not exist"): false, nil: false, faults.List{}.Err(): false,
	} {
		if faults.Is(e) != want {
			t.Errorf("Is(%v) is not %v", e, want)
		}
	}
}
