// Package reference writes the pages of docs that are taken from the code: problems,
// config, hubctl and metrics. `make docs` writes them; a test of test/tree fails while a
// page in the tree is another one.
package reference
