package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrNotUp says that there is no lab in that run directory, nor a rest of one.
var ErrNotUp = errors.New("no lab is up")

// ErrUp says that a lab already runs in that run directory.
var ErrUp = errors.New("a lab is up already")

// How long a lab may take to go down in peace before it is killed.
const downPatience = 20 * time.Second

// holdDir makes the run directory and locks it for the life of this process. The
// kernel releases the lock when the process ends, however it ends.
func holdDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the run directory's lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("%w in %s", ErrUp, dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// Down ends the lab of a run directory and removes everything it made, also when
// the process that held it was killed. ErrNotUp when there is nothing.
func Down(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return ErrNotUp
	}
	lock, err := holdDir(dir)
	if errors.Is(err, ErrUp) {
		lock, err = endServer(dir)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return wipe(dir)
}

// endServer asks the process that holds the lab to end, then kills it.
func endServer(dir string) (*os.File, error) {
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !r.Server.alive() {
			break
		}
		if r.Server.PID == os.Getpid() {
			return nil, fmt.Errorf("the lab in %s is held by this process: close it instead", dir)
		}
		if err := syscall.Kill(r.Server.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("end the lab's process %d: %w", r.Server.PID, err)
		}
		for deadline := time.Now().Add(downPatience); r.Server.alive() && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
	}
	// A killed process holds its files until its last thread is gone.
	for deadline := time.Now().Add(downPatience); ; {
		lock, err := holdDir(dir)
		if !errors.Is(err, ErrUp) || time.Now().After(deadline) {
			return lock, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// wipe removes what a run directory's record names, then the directory. The
// caller holds its lock.
func wipe(dir string) error {
	r, err := readRecord(dir)
	if err != nil {
		return err
	}
	if err := r.sweep(); err != nil {
		return fmt.Errorf("remove the lab of %s: %w", dir, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the run directory: %w", err)
	}
	if filepath.Dir(dir) == RunRoot {
		// The root stays as long as another lab is in it.
		if err := os.Remove(RunRoot); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", RunRoot, err)
		}
	}
	return nil
}
