package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// handBack gives the files that root made in a directory of somebody else to that user and
// group. Otherwise the daemon, which is not root, could not read what `sudo hubd --once` left.
// Nobody but root has anything to give. The directory need not be there any more.
func handBack(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var home unix.Stat_t
	switch err := unix.Stat(dir, &home); {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("see whose directory %s is: %w", dir, err)
	case home.Uid == 0:
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("see what is in the state directory: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.Type().IsRegular() {
			if err := giveTo(path, home); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("give %s to the owner of its directory: %w", path, err))
			}
		}
	}
	return errors.Join(errs...)
}

// giveTo changes the owner of a file of root's. The directory's owner may put other things
// there: links are not followed, and what has a second name elsewhere stays root's.
func giveTo(path string, home unix.Stat_t) (err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Uid != 0 || st.Nlink != 1 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	return unix.Fchown(fd, int(home.Uid), int(home.Gid))
}
