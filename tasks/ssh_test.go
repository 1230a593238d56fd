package tasks_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/tasks"
	"github.com/zferry/zferry/testing/fakezfs"
	"github.com/zferry/zferry/testing/sshd"
)

// pairOfSystems is a world, another system behind a real sshd, and a connection to it through a link that can be cut.
type pairOfSystems struct {
	*world
	there      system // with the pool backup
	server     *sshd.Server
	link       *link
	connection int64
}

func newPair(t *testing.T) pairOfSystems {
	t.Helper()
	there := newSystem(t, filepath.Join(t.TempDir(), "there"), "backup")
	server := sshd.Start(t, sshd.Options{Env: map[string]string{"PATH": commands + ":" + os.Getenv("PATH"), "FAKEZFS": there.dir}})
	cable := newLink(t, server.Addr)
	p := pairOfSystems{world: newWorld(t), there: there, server: server, link: cable}
	p.connection = p.connect("nas2", cable.port())
	return p
}

// connect keeps a connection to the server through a port.
func (p pairOfSystems) connect(name string, port int) int64 {
	p.t.Helper()
	private, err := os.ReadFile(p.server.PrivateKey)
	if err != nil {
		p.t.Fatal(err)
	}
	key, err := p.keys.Create(p.t.Context(), keychain.Credential{
		Name: name + " key", Type: keychain.TypeKeyPair, KeyPair: keychain.KeyPair{Private: string(private)},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	var hostKeys strings.Builder
	for _, keyType := range sshd.KeyTypes() {
		hostKeys.WriteString(p.server.HostKeyLine(keyType) + "\n")
	}
	c, err := p.keys.Create(p.t.Context(), keychain.Credential{Name: name, Type: keychain.TypeConnection, Connection: keychain.Connection{
		Host: "127.0.0.1", Port: int64(port), User: p.server.User, KeyPair: key.ID, HostKey: hostKeys.String(), ConnectTimeout: 10,
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	return c.ID
}

// TestSSH runs tasks over SSH, one after the other on the same two systems.
func TestSSH(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, pairOfSystems)
	}{{"runs", sshRuns}, {"abort", abortOverSSH}, {"retries", countsRetries}, {"refused", refusedIsNotRetried}} {
		t.Run(test.name, func(t *testing.T) {
			p.t = t
			test.run(t, p)
		})
	}
}

// TestLostLink does so while connections are lost.
func TestLostLink(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, pairOfSystems)
	}{{"sessions", lostSessions}, {"outage", longOutage}} {
		t.Run(test.name, func(t *testing.T) {
			p.t = t
			test.run(t, p)
		})
	}
}

func (p pairOfSystems) task(name, direction, source, target string) tasks.Definition {
	d := local(name, source, target)
	d.Direction, d.Transport, d.SSHCredentials = direction, tasks.SSH, &p.connection
	return d
}

// sshRuns holds both directions over SSH: in full, incrementally, with nothing new.
func sshRuns(t *testing.T, p pairOfSystems) {
	p.filled("tank/data", mib, "one")
	do(t, p.there, "zfs create backup/theirs")
	do(t, p.there, "zfs snapshot backup/theirs@one")
	push := p.make(p.task("push", tasks.Push, "tank/data", "backup/copy"))
	pull := p.make(p.task("pull", tasks.Pull, "backup/theirs", "vault/copy"))
	p.succeed(p.run(push.ID))
	p.succeed(p.run(pull.ID))
	p.grow("tank/data", mib, "two")
	do(t, p.there, "zfs snapshot backup/theirs@two")
	for range 2 { // the second finds nothing new
		p.succeed(p.run(push.ID))
		p.succeed(p.run(pull.ID))
	}
	equal(t, p.here, "tank/data@two", p.there, "backup/copy@two")
	equal(t, p.there, "backup/theirs@two", p.here, "vault/copy@two")
	if got := snapshots(t, p.there, "backup/copy"); got != "one two" {
		t.Errorf("pushed %q", got)
	}
	if got := snapshots(t, p.here, "vault/copy"); got != "one two" {
		t.Errorf("pulled %q", got)
	}
	for id, last := range map[int64]string{push.ID: "tank/data@two", pull.ID: "backup/theirs@two"} {
		if s := p.get(id).State; s.Phase != tasks.Finished || s.LastSnapshot != last {
			t.Errorf("3.7: state %+v", s)
		}
		var got []int64
		for _, r := range p.runs(id) {
			got = append(got, r.Snapshots)
		}
		if diff := cmp.Diff([]int64{0, 1, 1}, got); diff != "" {
			t.Errorf("snapshots of the runs, newest first (-want +got):\n%s", diff)
		}
	}
	once := oneTime("tank/data", "backup/once")
	once.Transport, once.SSHCredentials = tasks.SSH, &p.connection
	p.succeed(p.once(once))
	equal(t, p.here, "tank/data@two", p.there, "backup/once@two")
}

// abortOverSSH holds that abort ends both ends, and that the next run resumes.
func abortOverSSH(t *testing.T, p pairOfSystems) {
	p.filled("tank/abort", 6*mib, "one")
	p.hang(5 * mib)
	d := p.task("abort", tasks.Push, "tank/abort", "backup/abort")
	d.LoggingLevel = ptr("DEBUG")
	e := p.make(d)
	job := p.run(e.ID)
	p.moved(e.ID, 9*mib/2)
	if err := p.jobs.Abort(job.ID); err != nil {
		t.Fatal(err)
	}
	p.fail(job, jobs.Aborted, "job aborted")
	if token(p.there, "backup/abort") == "" {
		t.Fatal("the target kept no token")
	}
	p.switches(fakezfs.Switches{})
	again := p.succeed(p.run(e.ID))
	if log := p.log(again); !strings.Contains(log, "kind=resumed") {
		t.Errorf("the next run does not resume:\n%s", log)
	}
	equal(t, p.here, "tank/abort@one", p.there, "backup/abort@one")
}

// lostSessions kills the sessions in the middle of a stream. The attempt has moved something, so that it does not count
// (decisions 12): even a task of one attempt goes on, and resumes.
func lostSessions(t *testing.T, p pairOfSystems) {
	p.filled("tank/lost", 6*mib, "one")
	p.hang(5 * mib)
	d := p.task("lost", tasks.Push, "tank/lost", "backup/lost")
	d.LoggingLevel = ptr("DEBUG")
	e := p.make(d)
	job := p.run(e.ID)
	p.moved(e.ID, 9*mib/2)
	p.switches(fakezfs.Switches{})
	if p.server.KillSessions() == 0 {
		t.Fatal("there was no session")
	}
	p.succeed(job)
	log := p.log(job)
	if !strings.Contains(log, "the connection failed, trying again") || !strings.Contains(log, "kind=resumed") {
		t.Errorf("log:\n%s", log)
	}
	equal(t, p.here, "tank/lost@one", p.there, "backup/lost@one")
	p.shown.await(t, "a word about the failure", func(j jobs.Job) bool {
		return j.ID == job.ID && strings.HasPrefix(j.Progress.Description, "The connection failed, trying again in 1s: ")
	})
	runs := p.runs(e.ID)
	if len(runs) != 1 || runs[0].Bytes < 6*mib || runs[0].Snapshots != 1 || runs[0].Outcome != "FINISHED" {
		t.Errorf("history %+v", runs)
	}
	want := []string{"added PENDING", "changed state RUNNING", "changed state RUNNING progress", "changed state FINISHED"}
	if diff := cmp.Diff(want, p.lines(e.ID)); diff != "" {
		t.Errorf("3.7: it is one run (-want +got):\n%s", diff)
	}
}

// longOutage cuts the link in the middle of a stream for longer than a run looks after what it leaves on the other side.
// When the link is back, what it left there is ended, and the run goes on.
func longOutage(t *testing.T, p pairOfSystems) {
	p.filled("tank/outage", 6*mib, "one")
	p.hang(5 * mib)
	d := p.task("outage", tasks.Push, "tank/outage", "backup/outage")
	d.Retries = 10
	e := p.make(d)
	job := p.run(e.ID)
	p.moved(e.ID, 9*mib/2)
	p.switches(fakezfs.Switches{})
	p.link.cut()
	p.shown.await(t, "three attempts", func(j jobs.Job) bool {
		return j.ID == job.ID && strings.HasPrefix(j.Progress.Description, "The connection failed, trying again in 2s: ")
	})
	p.link.mend()
	p.succeed(job)
	equal(t, p.here, "tank/outage@one", p.there, "backup/outage@one")
}

// countsRetries counts attempts without progress (decisions 12): after as many as the task wants the run fails.
func countsRetries(t *testing.T, p pairOfSystems) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for retries, pauses := range map[int]int{1: 0, 2: 1} {
		t.Run(strconv.Itoa(retries), func(t *testing.T) {
			d := p.task("retries "+strconv.Itoa(retries), tasks.Push, "tank/data", "backup/copy")
			c := p.connect("closed "+strconv.Itoa(retries), free)
			d.SSHCredentials, d.Retries = &c, retries
			e := p.make(d)
			began := time.Now()
			job := p.wait(p.run(e.ID))
			s := p.get(e.ID).State
			if job.State != jobs.Failed || s.Phase != tasks.Failed || !strings.Contains(s.Error, "connection refused") || s.LastSnapshot != "" {
				t.Errorf("job %s, state %+v", job.State, s)
			}
			if n := strings.Count(p.log(job), "the connection failed, trying again"); n != pauses {
				t.Errorf("tried %d times again, want %d:\n%s", n, pauses, p.log(job))
			}
			if took := time.Since(began); pauses > 0 && took < time.Second {
				t.Errorf("5.7: tried again after %v, want a second", took)
			}
			p.wantRuns(e.ID, store.Run{JobID: job.ID, Outcome: "ERROR", Message: s.Error})
		})
	}
}

// refusedIsNotRetried holds 5.7: authentication, host keys and other errors fail at once, whatever the retries.
func refusedIsNotRetried(t *testing.T, p pairOfSystems) {
	_, stranger := p.connected("stranger", keychain.Connection{
		Host: "127.0.0.1", Port: int64(p.server.Port), User: p.server.User, HostKey: p.server.HostKeyLine("ed25519"), ConnectTimeout: 10,
	})
	_, changed := p.connected("changed", keychain.Connection{
		Host: "127.0.0.1", Port: int64(p.server.Port), User: p.server.User, HostKey: nobody().HostKey, ConnectTimeout: 10,
	})
	_, nowhere := p.connected("nowhere", keychain.Connection{
		Host: "host.invalid", Port: 22, User: "root", HostKey: nobody().HostKey, ConnectTimeout: 10,
	})
	for name, tt := range map[string]struct {
		connection int64
		source     string
		want       string
	}{
		"login":        {stranger, "tank/data", "refuses the login"},
		"host key":     {changed, "tank/data", "host key"},
		"no such host": {nowhere, "tank/data", "no address is known"},
		"no dataset":   {p.connection, "tank/none", "tank/none"},
	} {
		t.Run("5.7: "+name, func(t *testing.T) {
			d := p.task(name, tasks.Push, tt.source, "backup/copy")
			d.SSHCredentials, d.Retries = &tt.connection, 5
			job := p.wait(p.run(p.make(d).ID))
			if job.State != jobs.Failed || !strings.Contains(job.Failure.Error, tt.want) {
				t.Errorf("job %s, %+v, want %s", job.State, job.Failure, tt.want)
			}
			if log := p.log(job); strings.Contains(log, "trying again") {
				t.Errorf("it was tried again:\n%s", log)
			}
			if strings.Contains(job.Failure.Error, "PRIVATE KEY") {
				t.Errorf("the key is shown: %s", job.Failure.Error)
			}
		})
	}
}
