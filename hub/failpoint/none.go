//go:build !failpoints

package failpoint

// Hit does nothing.
func Hit(string) {}

// Off reports whether a defence is switched off: never.
func Off(string) bool { return false }
