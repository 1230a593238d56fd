package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newJobsCommand() *cobra.Command {
	var o apiOptions
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List jobs, or abort one",
		Long:  `Lists the jobs that have not ended and the last ones that have.`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listJobs(cmd, &o, all, asJSON)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all that are known, not just the last 20")
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON lines, the default where the output is no terminal")
	abort := &cobra.Command{
		Use:   "abort JOB",
		Short: "Stop a job",
		Long:  `Stops a job. What a replication has sent is kept at the target, and the next run goes on from there.`,
		Args:  cobra.ExactArgs(1),
	}
	var abortOptions apiOptions
	abortOptions.flags(abort)
	abort.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := jobNumber(args[0])
		if err != nil {
			return err
		}
		client, err := abortOptions.client(nil, nil)
		if err != nil {
			return err
		}
		defer client.Close()
		return explain(client.Call(cmd.Context(), "core.job_abort", []any{id}, nil))
	}
	cmd.AddCommand(abort)
	return cmd
}

func listJobs(cmd *cobra.Command, o *apiOptions, all, asJSON bool) error {
	client, err := o.client(nil, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	options := map[string]any{"order_by": []string{"-id"}}
	if !all {
		options["limit"] = 20
	}
	var found []apiJob
	if err := client.Call(cmd.Context(), "core.get_jobs", []any{[]any{}, options}, &found); err != nil {
		return explain(err)
	}
	if asJSON || !isTerminal(cmd.OutOrStdout()) {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		for _, j := range found {
			if err := encoder.Encode(j); err != nil {
				return err
			}
		}
		return nil
	}
	rows := [][]string{{"JOB", "METHOD", "STATE", "DONE", "STARTED", "TOOK", ""}}
	for _, j := range found {
		rows = append(rows, jobRow(j))
	}
	table(cmd.OutOrStdout(), []int{0, 3, 5}, rows)
	return nil
}

func jobRow(j apiJob) []string {
	done, took, note := "", "", j.Progress.Description
	if j.Progress.Percent != nil {
		done = fmt.Sprintf("%d%%", *j.Progress.Percent)
	}
	started, finished := j.TimeStarted.Time(), j.TimeFinished.Time()
	if !finished.IsZero() {
		took = finished.Sub(started).String()
	}
	if j.Error != nil {
		note = *j.Error
	}
	return []string{fmt.Sprint(j.ID), j.Method, j.State, done, started.Local().Format(time.DateTime), took, cut(note, 80)}
}
