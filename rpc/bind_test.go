package rpc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zferry/zferry/rpc"
)

// clock is text with a rule of its own.
type clock string

func (c *clock) UnmarshalText(text []byte) error {
	hour, minute, ok := strings.Cut(string(text), ":")
	if !ok {
		return errors.New(`Time should be in 24 hour format like "18:00"`)
	}
	*c = clock(fmt.Sprintf("%02s:%s", hour, minute))
	return nil
}

// times are an object with a rule over two of its keys.
type times struct {
	Begin clock `json:"begin" default:"00:00"`
	End   clock `json:"end" default:"23:59"`
}

func (t times) Validate() error {
	if t.Begin > t.End {
		return rpc.ArgErrors{{Message: "Assertion failed, Begin time should be less than or equal to end time"}}
	}
	return nil
}

type lifetime struct {
	Value int    `json:"lifetime_value" min:"1"`
	Unit  string `json:"lifetime_unit" enum:"HOUR,DAY,WEEK"`
}

// common stands in others as if its fields stood there.
type common struct {
	Direction string `json:"direction" enum:"PUSH,PULL"`
	Retries   int    `json:"retries" min:"1" default:"5"`
}

type data struct {
	Name string `json:"name" minlen:"1"`
	common
	Mode       string            `json:"mode" enum:"A,B,C" default:"A"`
	Sources    []string          `json:"source_datasets" minlen:"1"`
	Exclude    []string          `json:"exclude" default:"[]" each_minlen:"1"`
	Override   map[string]string `json:"properties_override" default:"{}"`
	Port       *uint16           `json:"port" min:"1" default:"null"`
	Key        *string           `json:"key" long:"true" default:"null"`
	Schedule   *times            `json:"schedule" default:"null"`
	Lifetimes  []lifetime        `json:"lifetimes" default:"[]"`
	Tasks      []int64           `json:"tasks" unique:"true" default:"[]"`
	GUID       uint64            `json:"guid,omitempty"`
	Ratio      float64           `json:"ratio,omitempty" min:"0" max:"1"`
	Sudo       bool              `json:"sudo" default:"false"`
	Extra      map[string]any    `json:"extra,omitempty"`
	Raw        json.RawMessage   `json:"raw,omitempty"`
	Small      int8              `json:"small,omitempty"`
	ReallyRun  bool              `json:"really_run" private:"true" default:"true"`
	Since      rpc.Date          `json:"since,omitzero"`
	unexported int
}

func (d *data) Validate() error {
	if d.unexported = len(d.Name); d.Name == "taken" {
		return rpc.ArgErrors{{Attribute: "name", Message: "Object with this name already exists"}}
	}
	if d.Name == "bad" {
		return errors.New("name is bad")
	}
	return nil
}

type create struct {
	Data  data    `json:"data"`
	Times int     `json:"times" default:"1"`
	Note  *string `json:"note,omitempty"`
}

const minimal = `"name":"n","direction":"PUSH","source_datasets":["tank"]`

// TestBindFaults holds 1.4: attributes and texts as pydantic and TrueNAS have them, all faults at once, in order.
func TestBindFaults(t *testing.T) {
	tests := []struct {
		name, params string
		want         []string // "attribute|message"
	}{
		{"no arguments", `[]`, []string{"data|Field required"}},
		{"nothing at all", ``, []string{"data|Field required"}},
		{"too many arguments", `[1,2,3,4]`, []string{"|Too many arguments (expected 3, found 4)"}},
		{"nothing in it", `[{}]`, []string{"data.name|Field required", "data.direction|Field required", "data.source_datasets|Field required"}},
		{
			"everything wrong", `[{"z":1,"sudo":"yes","name":7,"direction":"UP","a":null,"source_datasets":"tank","retries":0},"1",5]`,
			[]string{
				"data.name|Input should be a valid string",
				"data.direction|Input should be 'PUSH' or 'PULL'",
				"data.retries|Input should be greater than or equal to 1",
				"data.source_datasets|Input should be a valid list",
				"data.sudo|Input should be a valid boolean",
				"data.z|Extra inputs are not permitted",
				"data.a|Extra inputs are not permitted",
				"times|Input should be a valid integer",
				"note|Input should be a valid string",
			},
		},
		{"not an object", `[[1]]`, []string{"data|Input should be a valid dictionary"}},
		{"null", `[null]`, []string{"data|Input should be a valid dictionary"}},
		{"key of another case", `[{` + minimal + `,"NAME":1}]`, []string{"data.NAME|Extra inputs are not permitted"}},
		{"empty text", `[{` + minimal + `,"name":""}]`, []string{"data.name|String should have at least 1 character"}},
		{"long text", `[{` + minimal + `,"name":"` + strings.Repeat("ä", 1025) + `"}]`, []string{"data.name|String should have at most 1024 characters"}},
		{"long text in a list", `[{` + minimal + `,"exclude":["","` + strings.Repeat("x", 1025) + `"]}]`, []string{
			"data.exclude.0|String should have at least 1 character", "data.exclude.1|String should have at most 1024 characters",
		}},
		{"long text in a map", `[{` + minimal + `,"properties_override":{"a":"` + strings.Repeat("x", 1025) + `","b":1}}]`, []string{
			"data.properties_override.a|String should have at most 1024 characters", "data.properties_override.b|Input should be a valid string",
		}},
		{"enumeration of three", `[{` + minimal + `,"mode":"D"}]`, []string{"data.mode|Input should be 'A', 'B' or 'C'"}},
		{"enumeration, other type", `[{` + minimal + `,"mode":null}]`, []string{"data.mode|Input should be 'A', 'B' or 'C'"}},
		{"empty list", `[{` + minimal + `,"source_datasets":[]}]`, []string{"data.source_datasets|List should have at least 1 item after validation, not 0"}},
		{"elements", `[{` + minimal + `,"source_datasets":["a",1,null]}]`, []string{
			"data.source_datasets.1|Input should be a valid string", "data.source_datasets.2|Input should be a valid string",
		}},
		{"elements that are objects", `[{` + minimal + `,"lifetimes":[{"lifetime_value":0,"lifetime_unit":"X","x":1},7]}]`, []string{
			"data.lifetimes.0.lifetime_value|Input should be greater than or equal to 1",
			"data.lifetimes.0.lifetime_unit|Input should be 'HOUR', 'DAY' or 'WEEK'",
			"data.lifetimes.0.x|Extra inputs are not permitted",
			"data.lifetimes.1|Input should be a valid dictionary",
		}},
		{"twice", `[{` + minimal + `,"tasks":[1,2,1]}]`, []string{"data.tasks|List must be unique"}},
		{"float for integer", `[{` + minimal + `},1.0]`, []string{"times|Input should be a valid integer"}},
		{"exponent for integer", `[{` + minimal + `},1e2]`, []string{"times|Input should be a valid integer"}},
		{"bool for integer", `[{` + minimal + `},true]`, []string{"times|Input should be a valid integer"}},
		{"integer for bool", `[{` + minimal + `,"sudo":1}]`, []string{"data.sudo|Input should be a valid boolean"}},
		{"number for text", `[{` + minimal + `,"name":1}]`, []string{"data.name|Input should be a valid string"}},
		{"port 0", `[{` + minimal + `,"port":0}]`, []string{"data.port|Input should be greater than or equal to 1"}},
		{"port below", `[{` + minimal + `,"port":-1}]`, []string{"data.port|Input should be greater than or equal to 1"}},
		{"port beyond", `[{` + minimal + `,"port":65536}]`, []string{"data.port|Input should be less than or equal to 65535"}},
		{"beyond the type", `[{` + minimal + `,"small":128,"guid":18446744073709551616}]`, []string{
			"data.guid|Input should be less than or equal to 18446744073709551615", "data.small|Input should be less than or equal to 127",
		}},
		{"below the type", `[{` + minimal + `,"small":-1000000000000000000000,"guid":-1000000000000000000000}]`, []string{
			"data.guid|Input should be greater than or equal to 0", "data.small|Input should be greater than or equal to -128",
		}},
		{"ratio", `[{` + minimal + `,"ratio":1.5}]`, []string{"data.ratio|Input should be less than or equal to 1"}},
		{"ratio text", `[{` + minimal + `,"ratio":"1"}]`, []string{"data.ratio|Input should be a valid number"}},
		{"ratio infinite", `[{` + minimal + `,"ratio":1e999}]`, []string{"data.ratio|Input should be a finite number"}},
		{"map", `[{` + minimal + `,"properties_override":[]}]`, []string{"data.properties_override|Input should be a valid dictionary"}},
		{"own text", `[{` + minimal + `,"schedule":{"begin":"1800"}}]`, []string{`data.schedule.begin|Value error, Time should be in 24 hour format like "18:00"`}},
		{"own text, other type", `[{` + minimal + `,"schedule":{"begin":18}}]`, []string{"data.schedule.begin|Input should be a valid string"}},
		{"own rule", `[{` + minimal + `,"schedule":{"begin":"9:00","end":"8:00"}}]`, []string{
			"data.schedule|Assertion failed, Begin time should be less than or equal to end time",
		}},
		{"own rule of a key", `[{` + minimal + `,"name":"taken"}]`, []string{"data.name|Object with this name already exists"}},
		{"own rule, plain", `[{` + minimal + `,"name":"bad"}]`, []string{"data|Value error, name is bad"}},
		{"own rule only if all else is well", `[{` + minimal + `,"name":"bad","sudo":1}]`, []string{"data.sudo|Input should be a valid boolean"}},
		{"private", `[{` + minimal + `,"really_run":false}]`, []string{"data.really_run|Extra inputs are not permitted"}},
		{"private, other type", `[{` + minimal + `,"really_run":1}]`, []string{"data.really_run|Extra inputs are not permitted"}},
		{"date", `[{` + minimal + `,"since":{"$date":"x"}}]`, []string{"data.since|Input should be a valid datetime"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rpc.Bind[create](json.RawMessage(tt.params))
			set, ok := errors.AsType[rpc.ArgErrors](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			var got []string
			for _, a := range set {
				got = append(got, a.Attribute+"|"+a.Message)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBindValues(t *testing.T) {
	base := data{
		Name: "n", common: common{Direction: "PUSH", Retries: 5}, Mode: "A", Sources: []string{"tank"}, Exclude: []string{},
		Override: map[string]string{}, Lifetimes: []lifetime{}, Tasks: []int64{}, ReallyRun: true,
	}
	with := func(change func(d *data)) data {
		d := base
		change(&d)
		return d
	}
	port, key := uint16(65535), strings.Repeat("k", 5000)
	tests := []struct {
		name, more string
		want       data
	}{
		{"defaults", ``, base},
		{"GUID", `,"guid":18446744073709551615`, with(func(d *data) { d.GUID = math.MaxUint64 })},
		{"null", `,"port":null,"key":null,"schedule":null`, base},
		{"pointers", `,"port":65535,"key":"` + key + `"`, with(func(d *data) { d.Port, d.Key = &port, &key })},
		{"object of defaults", `,"schedule":{}`, with(func(d *data) { d.Schedule = &times{"00:00", "23:59"} })},
		{"normalised", `,"schedule":{"begin":"1:00"}`, with(func(d *data) { d.Schedule = &times{"01:00", "23:59"} })},
		{"any keeps its digits", `,"extra":{"a":[18446744073709551615,1.0]}`, with(func(d *data) {
			d.Extra = map[string]any{"a": []any{json.Number("18446744073709551615"), json.Number("1.0")}}
		})},
		{"raw", `,"raw":{"b":1,"a":[ ]}`, with(func(d *data) { d.Raw = json.RawMessage(`{"b":1,"a":[ ]}`) })},
		{"the last of a key counts", `,"name":"m","name":"n"`, base},
		{"private at its default", `,"really_run":true`, base},
		{"1024 characters", `,"name":"` + strings.Repeat("ä", 1024) + `"`, with(func(d *data) { d.Name = strings.Repeat("ä", 1024) })},
		{"integer for float", `,"ratio":1`, with(func(d *data) { d.Ratio = 1 })},
		{"limits", `,"small":-128`, with(func(d *data) { d.Small = -128 })},
		{"minus nothing", `,"guid":-0`, base},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rpc.Bind[create](json.RawMessage(`[{` + minimal + tt.more + `}]`))
			if err != nil {
				t.Fatal(err)
			}
			same := cmp.Options{cmp.AllowUnexported(data{}), cmpopts.IgnoreFields(data{}, "unexported"), cmpopts.EquateComparable(rpc.Date{})}
			if diff := cmp.Diff(create{Data: tt.want, Times: 1}, got, same); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Data.unexported != len(got.Data.Name) {
				t.Error("Validate did not work on the value itself")
			}
		})
	}
}

// TestBindPartial holds "absent means unchanged, null means null".
func TestBindPartial(t *testing.T) {
	type update struct {
		Name     rpc.Optional[string]  `json:"name,omitzero" minlen:"1"`
		Port     rpc.Optional[*int]    `json:"port,omitzero" min:"1"`
		Lifetime rpc.Optional[*string] `json:"lifetime,omitzero" enum:"DAY,WEEK"`
	}
	type args struct {
		ID     int64  `json:"id"`
		Update update `json:"replication_update"`
	}
	got, err := rpc.Bind[args](json.RawMessage(`[7,{"port":null,"lifetime":"DAY"}]`))
	if err != nil {
		t.Fatal(err)
	}
	u := got.Update
	if u.Name.Set || !u.Port.Set || u.Port.Value != nil || !u.Lifetime.Set || *u.Lifetime.Value != "DAY" {
		t.Errorf("got %+v", u)
	}
	name, port := "old", new(int)
	u.Name.Apply(&name)
	u.Port.Apply(&port)
	if name != "old" || port != nil {
		t.Errorf("applied: %s, %v", name, port)
	}
	if text, err := json.Marshal(u); err != nil || string(text) != `{"port":null,"lifetime":"DAY"}` {
		t.Errorf("marshalled: %s, %v", text, err)
	}
	var again update
	if err := json.Unmarshal([]byte(`{"port":null,"name":"x"}`), &again); err != nil || again.Name != rpc.Some("x") || !again.Port.Set {
		t.Errorf("unmarshalled: %+v, %v", again, err)
	}
	_, err = rpc.Bind[args](json.RawMessage(`[7,{"name":"","port":0,"lifetime":"YEAR","id":1}]`))
	want := "[EINVAL] replication_update.name: String should have at least 1 character\n" +
		"[EINVAL] replication_update.port: Input should be greater than or equal to 1\n" +
		"[EINVAL] replication_update.lifetime: Input should be 'DAY' or 'WEEK'\n" +
		"[EINVAL] replication_update.id: Extra inputs are not permitted\n"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestBindValue(t *testing.T) {
	got, err := rpc.BindValue[[]lifetime]("attributes", json.RawMessage(` [{"lifetime_value":1,"lifetime_unit":"DAY"}] `))
	if err != nil || len(got) != 1 || got[0] != (lifetime{1, "DAY"}) {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = rpc.BindValue[lifetime]("attributes", json.RawMessage(`{"lifetime_unit":"DAY"}`))
	if want := "[EINVAL] attributes.lifetime_value: Field required\n"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	for _, broken := range []string{``, `{`, `1 2`} {
		if _, err := rpc.BindValue[int]("x", json.RawMessage(broken)); err == nil {
			t.Errorf("%q was bound", broken)
		}
	}
	if _, err := rpc.Bind[create](json.RawMessage(`{}`)); err == nil {
		t.Error("an object was bound as arguments")
	}
}

// FuzzBind: whatever comes, Bind says what is wrong or gives a value that it would take again.
func FuzzBind(f *testing.F) {
	for _, seed := range []string{
		`[]`, `[{}]`, `[{` + minimal + `},1,"x"]`, `[{` + minimal + `,"schedule":{"begin":"1:00"},"lifetimes":[{"lifetime_value":1,"lifetime_unit":"DAY"}]}]`,
		`[{"name":7,"z":[{}],"extra":{"a":{"b":[1e400]}}},null,{}]`, `[{` + minimal + `,"guid":18446744073709551616,"small":-129,"ratio":-0.0}]`,
		`[{` + minimal + `,"since":{"$date":1},"raw":null,"really_run":true}]`, `{`, `null`, ` [ ] `, `[[[[[[]]]]]]`, `["\ud800"]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, params string) {
		got, err := rpc.Bind[create](json.RawMessage(params))
		if err != nil {
			if err.Error() == "" {
				t.Error("a fault without words")
			}
			return
		}
		again, err := json.Marshal([]any{got.Data, got.Times, got.Note})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rpc.Bind[create](again); err != nil {
			t.Errorf("%s was bound, but not\n%s: %v", params, again, err)
		}
	})
}
