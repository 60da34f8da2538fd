package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"peerhub/test/fabric"
)

// RunRoot is where labs keep their run directories, one per prefix.
const RunRoot = "/run/hublab"

// RunDir is the run directory of the lab of that prefix.
func RunDir(prefix string) string { return filepath.Join(RunRoot, strings.TrimSuffix(prefix, "-")) }

// record is what must be removed, on disk before it is made.
type record struct {
	Prefix     string          `json:"prefix"`
	Server     processID       `json:"server"` // the process that holds the lab
	Namespaces []namespaceMark `json:"namespaces"`

	dir string
}

// processID names a process for good: a pid alone is used again.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, /proc/PID/stat field 22
}

// namespaceMark is a named namespace; inode 0: about to be made.
type namespaceMark struct {
	Name  string `json:"name"`
	Inode uint64 `json:"inode"`
}

const recordFile = "record.json"

func readRecord(dir string) (record, error) {
	r := record{dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read the lab's record in %s: %w", dir, err)
	}
	return r, nil
}

// save writes the record whole or not at all.
func (r *record) save() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the lab's record: %w", err)
	}
	tmp := filepath.Join(r.dir, recordFile+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write the lab's record: %w", err)
	}
	return os.Rename(tmp, filepath.Join(r.dir, recordFile))
}

// addNamespace makes a namespace and records it, first by name, then by inode.
func (r *record) addNamespace(name string) error {
	if _, ok := nsInode(name); ok {
		return fmt.Errorf("namespace %s exists and is not this lab's: remove it or choose another prefix", name)
	}
	r.Namespaces = append(r.Namespaces, namespaceMark{Name: name})
	if err := r.save(); err != nil {
		return err
	}
	if err := fabric.NewNS(name); err != nil {
		return err
	}
	r.Namespaces[len(r.Namespaces)-1].Inode, _ = nsInode(name)
	return r.save()
}

// renewNamespace removes a recorded namespace with all that runs in it and makes it anew.
func (r *record) renewNamespace(name string) error {
	i := slices.IndexFunc(r.Namespaces, func(m namespaceMark) bool { return m.Name == name })
	if i < 0 {
		return fmt.Errorf("namespace %s is not this lab's", name)
	}
	if err := endProcesses(r.Namespaces[i].Inode); err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	if err := fabric.Delete(name); err != nil {
		return err
	}
	r.Namespaces = slices.Delete(r.Namespaces, i, i+1)
	return r.addNamespace(name)
}

// sweep ends every process inside the recorded namespaces and removes them.
func (r *record) sweep() error {
	var errs []error
	for _, m := range slices.Backward(r.Namespaces) {
		inode, ok := nsInode(m.Name)
		if !ok || (m.Inode != 0 && inode != m.Inode) {
			continue // gone, or somebody else's by now
		}
		if !strings.HasPrefix(m.Name, r.Prefix) || r.Prefix == "" {
			errs = append(errs, fmt.Errorf("record names %s, which does not begin with %q: left alone", m.Name, r.Prefix))
			continue
		}
		if err := endProcesses(inode); err != nil {
			errs = append(errs, fmt.Errorf("namespace %s: %w", m.Name, err))
		}
		if err := fabric.Delete(m.Name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func nsInode(name string) (uint64, bool) { return inodeOf("/run/netns/" + name) }

func inodeOf(path string) (uint64, bool) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0, false
	}
	return st.Ino, true
}

// processesIn lists the processes whose network namespace has that inode. The
// caller itself is never among them.
func processesIn(inode uint64) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if ino, ok := inodeOf("/proc/" + e.Name() + "/ns/net"); ok && ino == inode {
			out = append(out, pid)
		}
	}
	return out
}

// endProcesses kills whoever is left in a namespace and waits until all are gone.
func endProcesses(inode uint64) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		pids := processesIn(inode)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", pids)
		}
		for _, pid := range pids {
			// Gone in between is what we want.
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func thisProcess() processID {
	start, _ := startTime(os.Getpid())
	return processID{PID: os.Getpid(), Start: start}
}

// alive tells whether the process is still the one that was recorded, and no zombie.
func (p processID) alive() bool {
	start, ok := startTime(p.PID)
	return ok && p.PID > 0 && start == p.Start
}

// startTime reads when a process began; false when there is none.
func startTime(pid int) (uint64, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field is the name in parentheses and may hold anything.
	i := strings.LastIndexByte(string(b), ')')
	if i < 0 {
		return 0, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 || f[0] == "Z" {
		return 0, false
	}
	n, err := strconv.ParseUint(f[19], 10, 64)
	return n, err == nil
}
