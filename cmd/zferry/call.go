package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/rpc"
)

func newCallCommand() *cobra.Command {
	var o apiOptions
	var wait bool
	cmd := &cobra.Command{
		Use:   "call METHOD [JSON]...",
		Short: "Call a method of the API",
		Long: `Calls a method of the host's API with the given arguments and prints the result: text and numbers as they are, everything
else as JSON. An argument that is no JSON is taken as text; a dash stands for what comes from standard input, which is the way
for secrets: other users can see the words of a command line. What starts a job prints its number, or with --job waits for
the end.`,
		Example: `  zferry call replication.query
  zferry call replication.query '[["name","=","nightly"]]' '{"get":true}'
  zferry call --job replication.run 1
  zferry call keychaincredential.create - < key.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			params, err := arguments(args[1:], cmd.InOrStdin())
			if err != nil {
				return err
			}
			return call(cmd, &o, wait, args[0], params)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVarP(&wait, "job", "j", false, "wait for the job that the method starts, and print its result")
	return cmd
}

// arguments are the words of a command line as JSON.
func arguments(words []string, in io.Reader) ([]any, error) {
	list := make([]any, len(words))
	read := false
	for i, w := range words {
		if w == "-" {
			if read {
				return nil, usageError{errors.New("only one argument can come from standard input")}
			}
			read = true
			text, err := io.ReadAll(in)
			if err != nil {
				return nil, fmt.Errorf("standard input: %w", err)
			}
			w = strings.TrimSpace(string(text))
		}
		list[i] = w
		if json.Valid([]byte(w)) {
			list[i] = json.RawMessage(w)
		}
	}
	return list, nil
}

func call(cmd *cobra.Command, o *apiOptions, wait bool, method string, params []any) error {
	w := newWatcher()
	client, err := o.client(w.event, w.reconnected)
	if err != nil {
		return err
	}
	defer client.Close()
	if wait {
		if err := client.Subscribe(cmd.Context(), "core.get_jobs"); err != nil {
			return explain(err)
		}
	}
	var result json.RawMessage
	if err := client.Call(cmd.Context(), method, params, &result); err != nil {
		return explain(err)
	}
	var id int64
	if wait && json.Unmarshal(result, &id) == nil {
		w.given = true
		job, err := w.follow(cmd.Context(), client, id, newJobReport(cmd.ErrOrStderr(), cmd.ErrOrStderr(), false))
		if err != nil {
			return explain(err)
		}
		if err := job.failure(); err != nil {
			return err
		}
		result = job.Result
	}
	return printResult(cmd.OutOrStdout(), result)
}

// printResult writes text and numbers as they are, everything else as JSON.
func printResult(out io.Writer, result json.RawMessage) error {
	var text string
	if json.Unmarshal(result, &text) == nil && !bytes.Equal(result, []byte("null")) {
		_, err := fmt.Fprintln(out, text)
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, result, "", "  "); err != nil {
		return fmt.Errorf("the host's answer is no JSON: %w", err)
	}
	_, err := fmt.Fprintln(out, pretty.String())
	return err
}

// apiJob is what the commands read of a job.
type apiJob struct {
	ID       int64  `json:"id"`
	Method   string `json:"method"`
	State    string `json:"state"`
	Progress struct {
		Percent     *int          `json:"percent"`
		Description string        `json:"description"`
		Extra       *apiTransfers `json:"extra"`
	} `json:"progress"`
	Error        *string         `json:"error"`
	Result       json.RawMessage `json:"result"`
	TimeStarted  rpc.Date        `json:"time_started"`
	TimeFinished rpc.Date        `json:"time_finished"`
}

// apiTransfers is the progress of a replication: bytes, bytes per second, seconds.
type apiTransfers struct {
	Dataset        string  `json:"dataset"`
	Snapshot       string  `json:"snapshot"`
	SnapshotsSent  int     `json:"snapshots_sent"`
	SnapshotsTotal int     `json:"snapshots_total"`
	BytesSent      int64   `json:"bytes_sent"`
	BytesTotal     int64   `json:"bytes_total"`
	Rate           int64   `json:"rate"`
	Left           float64 `json:"left"`
	Elapsed        float64 `json:"elapsed"`
}

func (j *apiJob) final() bool {
	return j.State == "SUCCESS" || j.State == "FAILED" || j.State == "ABORTED"
}

// failure is why a job has not succeeded.
func (j *apiJob) failure() error {
	if j.State == "SUCCESS" {
		return nil
	}
	if j.Error != nil {
		return fmt.Errorf("job %d: %s: %s", j.ID, j.State, *j.Error)
	}
	return fmt.Errorf("job %d: %s", j.ID, j.State)
}

var errNoSuchJob = errors.New("there is no such job; 'zferry jobs' lists those that are known")
