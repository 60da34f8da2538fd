// Package config reads hubd.yaml and the files of accounts.d beside it, and turns
// them into a typed policy and typed settings.
//
// It is strict: an unknown or repeated key, a wrong type, a value out of range and
// a contradiction between values are errors. All of them are reported at once, each
// with file, line, column, key path, what was found and what would be right.
//
// Be aware:
//   - The syntax tree is walked by hand. A strict decoder stops at its first error,
//     and reads an unquoted account id such as 011111111111 as an octal number.
//   - Nothing is touched and nobody is asked: whether a directory, an interface or an
//     account exists is found out later, by who needs it.
//   - The schema table in schema.go is the one list of keys. deploy/hubd.yaml is the
//     reference; a test holds the two together.
package config
