package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/test/fabric"
)

// holdVar makes this test binary hold a lab in the named run directory until it is killed.
const holdVar = "LAB_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVar); dir != "" {
		s := DefaultSpec()
		s.Prefix = os.Getenv(holdVar + "_PREFIX")
		if _, err := Start(context.Background(), s, Options{Dir: dir, WithoutHubd: true}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("up")
		select {}
	}
	os.Exit(m.Run())
}

// hold starts a lab in another process and returns that process.
func hold(t *testing.T, spec Spec, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdVar+"="+dir, holdVar+"_PREFIX="+spec.Prefix)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd
}

// left lists what a lab of this spec has on the machine.
func left(spec Spec) []string {
	var out []string
	for _, h := range spec.Hosts() {
		if inode, ok := nsInode(h.Namespace); ok {
			out = append(out, "namespace "+h.Namespace)
			for _, pid := range processesIn(inode) {
				out = append(out, fmt.Sprintf("process %d in %s", pid, h.Namespace))
			}
		}
	}
	return out
}

func TestDownAfterTheHolderWasKilled(t *testing.T) {
	t.Parallel()
	machine := machineState(t)
	spec, dir := testSpec("k"), testDir(t)
	cmd := hold(t, spec, dir)
	if d := cmp.Diff(machine, machineState(t)); d != "" {
		t.Errorf("a lab changed the machine's own rules, routes or switches: %s", d)
	}
	// A guest: a program somebody started in a host.
	guest := fabric.Command(t.Context(), spec.Prefix+HostLaptop1, "cat")
	stdin, err := guest.StdinPipe()
	must(t, err)
	defer stdin.Close()
	must(t, guest.Start())

	must(t, cmd.Process.Kill())
	var killed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &killed) {
		t.Fatalf("the holder ended with %v", err)
	}
	if n := len(left(spec)); n < len(spec.Hosts())+4 {
		t.Fatalf("control: only %d things left by a killed lab, want its namespaces and OpenVPNs: %v", n, left(spec))
	}
	must(t, Down(dir))
	if got := left(spec); len(got) > 0 {
		t.Errorf("left after down: %v", got)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run directory is still there (%v)", err)
	}
	if err := guest.Wait(); !errors.As(err, &killed) {
		t.Errorf("the guest ended with %v, want it killed", err)
	}
	if err := Down(dir); !errors.Is(err, ErrNotUp) {
		t.Errorf("down again: %v, want %v", err, ErrNotUp)
	}
	if d := cmp.Diff(machine, machineState(t)); d != "" {
		t.Errorf("a lab changed the machine's own rules, routes or switches: %s", d)
	}
}

func TestStartAfterTheHolderWasKilled(t *testing.T) {
	t.Parallel()
	spec, dir := testSpec("a"), testDir(t)
	cmd := hold(t, spec, dir)
	if _, err := Start(t.Context(), spec, Options{Dir: dir, WithoutHubd: true}); !errors.Is(err, ErrUp) {
		t.Fatalf("start beside a lab that is up: %v, want %v", err, ErrUp)
	}
	must(t, cmd.Process.Kill())
	var killed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &killed) {
		t.Fatalf("the holder ended with %v", err)
	}
	l, err := Start(t.Context(), spec, Options{Dir: dir, WithoutHubd: true})
	must(t, err)
	must(t, l.Close())
	checkGone(t, l)
}

func TestForeignNamespacesStay(t *testing.T) {
	t.Parallel()
	spec := testSpec("f")
	foreign := spec.Prefix + "svc2"
	must(t, fabric.NewNS(foreign))
	defer func() { must(t, fabric.Delete(foreign)) }()
	before, _ := nsInode(foreign)

	dir := testDir(t)
	if _, err := Start(t.Context(), spec, Options{Dir: dir, WithoutHubd: true}); err == nil || !strings.Contains(err.Error(), foreign) {
		t.Errorf("start with a foreign namespace in the way: %v, want an error that names %s", err, foreign)
	}
	// A record of a namespace that has since been replaced by somebody else's.
	must(t, os.MkdirAll(dir, 0o755))
	r := record{Prefix: spec.Prefix, dir: dir, Namespaces: []namespaceMark{{foreign, before + 1}}}
	must(t, r.save())
	must(t, Down(dir))
	if after, ok := nsInode(foreign); !ok || after != before {
		t.Errorf("the foreign namespace is gone or another one (inode %d, then %d)", before, after)
	}
	// Control: with its own inode in the record it is the lab's, and goes.
	must(t, os.MkdirAll(dir, 0o755))
	r.Namespaces[0].Inode = before
	must(t, r.save())
	must(t, Down(dir))
	if _, ok := nsInode(foreign); ok {
		t.Error("control: a recorded namespace stayed")
	}
}

// machineState is what a lab must never touch.
func machineState(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "nft list ruleset; ip rule; ip route show table all; sysctl -a 2>/dev/null | grep -E '(all|default).(rp_filter|src_valid_mark|accept_ra|forwarding) |ip_forward '").Output()
	must(t, err)
	return string(out)
}
