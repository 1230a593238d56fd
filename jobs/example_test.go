package jobs_test

import (
	"context"
	"fmt"

	"github.com/zferry/zferry/jobs"
)

// nowhere is a Store that keeps nothing.
type nowhere struct{}

func (nowhere) Load(context.Context) ([]jobs.Job, int64, uint64, error) { return nil, 0, 0, nil }
func (nowhere) Insert(context.Context, jobs.Job) error                  { return nil }
func (nowhere) Update(context.Context, jobs.Job) error                  { return nil }
func (nowhere) Delete(context.Context, []int64) error                   { return nil }

func ExampleManager_Start() {
	ctx := context.Background()
	m, _, err := jobs.Open(ctx, jobs.Config{Store: nowhere{}, Publish: func(j jobs.Job) {
		fmt.Println(j.ID, j.State, *j.Progress.Percent)
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	if err := m.SetSeries(1, 16); err != nil {
		fmt.Println(err)
		return
	}
	job, err := m.Start(ctx, jobs.Spec{Method: "replication.run", Lock: "task 7", Run: func(_ context.Context, h *jobs.Handle) (any, error) {
		h.Progress(jobs.Progress{Percent: jobs.Percent(50), Description: "half way"})
		return "sent", nil
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	job, err = m.Wait(ctx, job.ID)
	fmt.Println(string(job.Result), err)
	// Output:
	// 1 WAITING 0
	// 1 RUNNING 0
	// 1 RUNNING 50
	// 1 SUCCESS 100
	// "sent" <nil>
}
