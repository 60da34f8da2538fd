package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// output is stdout. A write that fails ends no work; whether one did is asked at the end.
// A reader that has left has all it wanted: that is no error.
type output struct {
	w   io.Writer
	err error // of the first write that failed
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil && o.err == nil && !errors.Is(err, syscall.EPIPE) {
		o.err = fmt.Errorf("write the answer: %w", err)
	}
	return n, err
}
