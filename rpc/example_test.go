package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/zferry/zferry/rpc"
)

// A method takes its arguments as a struct. What does not fit is refused with everything that is wrong.
func ExampleRegister() {
	type snapshot struct {
		Dataset string `json:"dataset" minlen:"1"`
		Count   int    `json:"count" min:"1" max:"100" default:"1"`
	}
	type args struct {
		Snapshot snapshot `json:"snapshot_create"`
	}
	var r rpc.Registry
	rpc.Register(&r, "pool.snapshot.create", rpc.Meta{Roles: []string{"SNAPSHOT_WRITE"}},
		func(_ context.Context, in args) (string, error) {
			return fmt.Sprintf("%d of %s", in.Snapshot.Count, in.Snapshot.Dataset), nil
		})

	m, _ := r.Lookup("pool.snapshot.create")
	fmt.Println(m.Call(context.Background(), json.RawMessage(`[{"dataset": "tank"}]`)))
	_, err := m.Call(context.Background(), json.RawMessage(`[{"count": 0, "name": "x"}]`))
	fmt.Print(err)
	// Output:
	// 1 of tank <nil>
	// [EINVAL] snapshot_create.dataset: Field required
	// [EINVAL] snapshot_create.count: Input should be greater than or equal to 1
	// [EINVAL] snapshot_create.name: Extra inputs are not permitted
}
