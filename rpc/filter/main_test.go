package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// The regular expression engine keeps a clock for its time limits, which ends by itself a second after the last match.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}

func parseRows(t testing.TB, text string) []map[string]any {
	t.Helper()
	var rows []map[string]any
	if err := decode([]byte(text), &rows); err != nil {
		t.Fatalf("rows %s: %v", text, err)
	}
	return rows
}

func query(rows []map[string]any, filters, options string) (any, error) {
	q, err := Parse(json.RawMessage(filters), json.RawMessage(options))
	if err != nil {
		return nil, err
	}
	return q.Run(rows)
}

// matching gives the ids of the rows that match.
func matching(t testing.TB, rows []map[string]any, filters string) []string {
	t.Helper()
	return idsOf(t, rows, filters, "")
}

func idsOf(t testing.TB, rows []map[string]any, filters, options string) []string {
	t.Helper()
	result, err := query(rows, filters, options)
	if err != nil {
		t.Fatalf("%s %s: %v", filters, options, err)
	}
	ids := []string{}
	for _, row := range result.([]map[string]any) {
		ids = append(ids, fmt.Sprint(row["id"]))
	}
	return ids
}

// one is a row with one field.
func one(t testing.TB, value string) []map[string]any {
	t.Helper()
	return parseRows(t, `[{"id": 1, "x": `+value+`}]`)
}

func sameJSON(t testing.TB, got any, want string) {
	t.Helper()
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := errors.Join(decode(text, &a), decode([]byte(want), &b)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// wantFault checks that err is a fault of the arguments with one message.
func wantFault(t testing.TB, err error, attribute, message string) {
	t.Helper()
	faults, ok := errors.AsType[FieldErrors](err)
	if !ok {
		t.Fatalf("error %v, want a fault of the arguments", err)
	}
	if diff := cmp.Diff(FieldErrors{{attribute, message}}, faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// wantFailure checks that err is a failure of the call with this text.
func wantFailure(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || err.Error() != text {
		t.Errorf("error %v, want %s", err, text)
	}
	if _, ok := errors.AsType[FieldErrors](err); ok {
		t.Errorf("%v is a fault of the arguments, want a failure of the call", err)
	}
}
