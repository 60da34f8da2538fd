package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"peerhub/test/lab"
)

// tools builds what only these rows need, once: the service manager, slow clients, and hubd
// as the next version of itself.
var tools = func() func(*testing.T) string {
	build := sync.OnceValue(func() error {
		dir := filepath.Join(bin, "tools")
		for _, args := range [][]string{
			{"-o", dir + "/", "peerhub/test/supervise", "peerhub/test/slow"},
			{"-tags", "failpoints", "-ldflags", "-X main.version=next", "-o", filepath.Join(dir, "hubd-next"), "peerhub/cmd/hubd"},
		} {
			cmd := exec.Command("go", append([]string{"build", "-trimpath"}, args...)...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("build %v: %w\n%s", args, err, out)
			}
		}
		return nil
	})
	return func(t *testing.T) string {
		t.Helper()
		if err := build(); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(bin, "tools")
	}
}()

// managed begins the lines of a row whose hubd runs by its unit file under a service manager.
const managed = "kill -TERM $HUBD_PID; tail --pid=$HUBD_PID -f /dev/null\n"

// manager is a service manager with a hubd.
type manager struct {
	s   *scene
	cmd *exec.Cmd

	mu  sync.Mutex
	out bytes.Buffer
}

func (m *manager) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out.Write(b)
}

// addShims makes hubd, supervise (with our unit file) and slow words of pasted lines.
func (s *scene) addShims() {
	s.t.Helper()
	unit, err := filepath.Abs("../../deploy/systemd/hubd.service")
	s.must(err)
	on := "exec ip netns exec " + s.ns(lab.HostHub) + " "
	hubd := filepath.Join(failing(s.t), "hubd")
	for name, line := range map[string]string{
		"hubd": on + hubd + ` "$@"`,
		// The manager stays outside: ip hides the control groups.
		"supervise": "exec " + filepath.Join(tools(s.t), "supervise") + " -set 'ExecStart=ip netns exec " + s.ns(lab.HostHub) + " " + hubd + " --config " + s.configPath() + `' "$@" ` + unit,
		"slow":      on + filepath.Join(tools(s.t), "slow") + ` "$@"`,
	} {
		s.must(os.WriteFile(filepath.Join(s.shims, name), []byte("#!/bin/sh\n"+line+"\n"), 0o755))
	}
}

// manage runs lines whose last one becomes the service manager, which writes what hubd says
// into the lab's directory.
func (s *scene) manage(lines string, env ...string) *manager {
	s.t.Helper()
	s.addShims()
	log, err := os.Create(filepath.Join(s.Dir, fmt.Sprintf("managed-%s.log", strings.ReplaceAll(s.t.Name(), "/", "-"))))
	s.must(err)
	defer log.Close()
	m := &manager{s: s, cmd: exec.Command("bash", "-euc", lines)}
	m.cmd.Env = append(os.Environ(), append(append(s.variables(), env...), "PATH="+s.shims+":"+os.Getenv("PATH"))...)
	m.cmd.Stdout, m.cmd.Stderr = m, log
	s.must(m.cmd.Start())
	s.t.Cleanup(func() {
		if s.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			s.t.Logf("service manager:\n%shubd's last words:\n%s", m.events(), b[max(0, len(b)-4000):])
		}
		m.end()
	})
	return m
}

// events are the lines that the manager has printed.
func (m *manager) events() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out.String()
}

// count is how often a word began a line.
func (m *manager) count(word string) (n, lastPID int) {
	for line := range strings.Lines(m.events()) {
		var pid int
		if f := strings.Fields(line); f[0] == word {
			n++
			if _, err := fmt.Sscan(f[1], &pid); err == nil {
				lastPID = pid
			}
		}
	}
	return n, lastPID
}

// await waits for the n-th time that a thing happens, and tells the process.
func (m *manager) await(word string, n int) (pid int) {
	m.s.t.Helper()
	eventually(m.s.t, fmt.Sprintf("%s happens %d times", word, n), func() error {
		have, p := m.count(word)
		if pid = p; have < n {
			return fmt.Errorf("%d times so far:\n%s", have, m.events())
		}
		return nil
	})
	return pid
}

// end stops hubd and its manager. It may be called again.
func (m *manager) end() {
	m.s.t.Helper()
	if m.cmd.ProcessState != nil {
		return
	}
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.s.t.Error(err)
	}
	_ = m.cmd.Wait() // a shell that was hit before it became the manager ends by the signal
}

// unmanage gives hubd back to the lab.
func (m *manager) unmanage() {
	m.s.t.Helper()
	m.end()
	m.s.must(m.s.StartUnit(m.s.t.Context(), lab.UnitHubd))
	eventually(m.s.t, "the lab's own hubd has asked everybody", m.s.allWork)
}

// allWork is content when status says that every spoke works.
func (s *scene) allWork() error {
	s.t.Helper()
	var st struct {
		Spokes []struct {
			Name  string
			Works bool
		}
	}
	if a := s.hubctlJSON(&st, "status"); len(st.Spokes) == 0 {
		return fmt.Errorf("no spokes; exit %d", a.code)
	}
	for _, sp := range st.Spokes {
		if !sp.Works {
			return fmt.Errorf("%s does not work", sp.Name)
		}
	}
	return nil
}

// peerSvc3 makes a spoke of an account that was none.
const peerSvc3 = `pcx=$(aws $HUB ec2 create-vpc-peering-connection --region $REGION --vpc-id $HUB_VPC --peer-vpc-id $SVC3_VPC --peer-owner-id $SVC3 \
  --query VpcPeeringConnection.VpcPeeringConnectionId --output text)
until aws $SVC3 ec2 accept-vpc-peering-connection --region $REGION --vpc-peering-connection-id $pcx >/dev/null 2>&1; do :; done`
