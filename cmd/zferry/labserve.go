package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/zferry/zferry/testing/lab"
)

// labServe is a zferry serve on the lab's nas1, which replicates to nas2. Everything goes through its API, by the commands
// that a user of nas1 would type.
type labServe struct{ lab *lab.Lab }

const (
	serveCommand = "zferry serve --data-dir " + defaultState + " --socket " + defaultSocket
	serveLog     = "/var/log/zferry.log"
	nas1Key      = "/root/.ssh/id_ed25519" // may log in on nas2
)

func (s labServe) nas1(ctx context.Context, script string) (string, error) {
	return s.lab.Machine("nas1").Run(ctx, script)
}

// install copies both programs to nas1. They lie beside this one.
func (s labServe) install(ctx context.Context, dir string) error {
	for _, name := range []string{"zferry", "zferry-plugin"} {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w: 'make build' makes it", err)
		}
		if err := s.lab.Machine("nas1").Copy(ctx, file, "/usr/local/bin/"+name, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// start starts zferry serve and waits until it is ready.
func (s labServe) start(ctx context.Context) error {
	_, err := s.nas1(ctx, `set -e
mkdir -p `+filepath.Dir(defaultSocket)+`
before=$(cat `+serveLog+` 2>/dev/null | grep -c '^ready' || true)
setsid `+serveCommand+` >>`+serveLog+` 2>&1 </dev/null &
pid=$!
for i in $(seq 600); do
	[ "$(grep -c '^ready' `+serveLog+`)" -le "$before" ] || exit 0
	kill -0 $pid 2>/dev/null || { cat `+serveLog+` >&2; exit 1; }
	sleep 0.1
done
cat `+serveLog+` >&2
exit 1`)
	return err
}

// call calls a method; a secret among the arguments goes in from standard input.
func (s labServe) call(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	command := "zferry call " + method
	for _, p := range params {
		text, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		command += " '" + strings.ReplaceAll(string(text), "'", `'\''`) + "'"
	}
	out, err := s.nas1(ctx, command)
	return json.RawMessage(out), err
}

// connect keeps the key of nas1 and a connection to nas2 by the names "nas1" and "nas2", and returns the connection's id.
func (s labServe) connect(ctx context.Context) (int64, error) {
	nas2 := s.lab.Machine("nas2")
	out, err := s.nas1(ctx, fmt.Sprintf(`set -e
key=$(awk '{printf "%%s\\n", $0}' %s)
printf '{"name":"nas1","type":"SSH_KEY_PAIR","attributes":{"private_key":"%%s"}}' "$key" | zferry call keychaincredential.create - > /tmp/pair.json
id=$(sed -n 's/^  "id": \([0-9]*\),$/\1/p' /tmp/pair.json)
rm /tmp/pair.json
keys=$(zferry call keychaincredential.remote_ssh_host_key_scan '{"host":"%s","port":%d}')
# The lab knows the keys of its machines, so they can be compared.
known=$(sed 's/^[^ ]* //' /root/.ssh/known_hosts)
for line in $(printf '%%s\n' "$keys" | tr ' ' '~'); do
	printf '%%s\n' "$known" | grep -qF "$(printf %%s "$line" | tr '~' ' ')" || echo "not known: $line" >&2
done
keys=$(printf '%%s\n' "$keys" | awk '{printf "%%s\\n", $0}')
zferry call keychain.setup_ssh '{"connection_name":"nas2","setup_type":"MANUAL","private_key":{"generate_key":false,"existing_key_id":'$id'},"manual_setup":{"host":"%s","port":%d,"username":"root","remote_host_key":"'"$keys"'"}}'`,
		nas1Key, nas2.Addr(), nas2.Port(), nas2.Addr(), nas2.Port()))
	if err != nil {
		return 0, err
	}
	var made struct {
		ID int64 `json:"id"`
	}
	return made.ID, json.Unmarshal([]byte(out), &made)
}

// create makes a task that pushes a tree, and returns its id.
func (s labServe) create(ctx context.Context, name string, connection int64, source, target string) (int64, error) {
	out, err := s.call(ctx, "replication.create", map[string]any{
		"name": name, "direction": "PUSH", "transport": "SSH", "ssh_credentials": connection,
		"source_datasets": []string{source}, "target_dataset": target, "recursive": true, "auto": false,
		"name_regex": ".*", "retention_policy": "NONE", "properties": false, "readonly": "IGNORE",
	})
	if err != nil {
		return 0, err
	}
	var made struct {
		ID int64 `json:"id"`
	}
	return made.ID, json.Unmarshal(out, &made)
}

// run starts a task and returns the job.
func (s labServe) run(ctx context.Context, task int64) (int64, error) {
	out, err := s.call(ctx, "replication.run", task)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
}

// jobs lists the jobs, newest first.
func (s labServe) jobs(ctx context.Context) ([]apiJob, error) {
	out, err := s.call(ctx, "core.get_jobs", []any{}, map[string]any{"order_by": []string{"-id"}})
	if err != nil {
		return nil, err
	}
	var list []apiJob
	return list, json.Unmarshal(out, &list)
}

// job finds one job.
func (s labServe) job(ctx context.Context, id int64) (apiJob, error) {
	list, err := s.jobs(ctx)
	if err != nil {
		return apiJob{}, err
	}
	for _, j := range list {
		if j.ID == id {
			return j, nil
		}
	}
	return apiJob{}, fmt.Errorf("job %d: %w", id, errNoSuchJob)
}

// until waits for a job to be as wanted.
func (s labServe) until(ctx context.Context, id int64, within time.Duration, what string, wanted func(apiJob) bool) (apiJob, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errors.New("took too long"))
	defer cancel()
	for {
		j, err := s.job(ctx, id)
		if err == nil && wanted(j) {
			return j, nil
		}
		if err == nil && j.final() {
			return j, fmt.Errorf("job %d ended before it %s: %w", id, what, j.failure())
		}
		select {
		case <-ctx.Done():
			return j, fmt.Errorf("waiting until job %d %s: %w (%v)", id, what, context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// moved waits until a job has sent so many bytes.
func (s labServe) moved(ctx context.Context, id, bytes int64) error {
	_, err := s.until(ctx, id, 3*time.Minute, fmt.Sprintf("had sent %d bytes", bytes), func(j apiJob) bool {
		return j.Progress.Extra != nil && j.Progress.Extra.BytesSent >= bytes
	})
	return err
}

// ended waits for a job to end in any way.
func (s labServe) ended(ctx context.Context, id int64) (apiJob, error) {
	return s.until(ctx, id, 4*time.Minute, "had ended", func(j apiJob) bool { return j.final() })
}
