package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// reader walks syntax trees and collects whatever is wrong.
type reader struct {
	file    string // the file being read, as shown to people
	errs    Errors
	origins map[string]Origin
	ranges  []located // prefixes whose relations are checked at the end
	names   map[string]claim
}

// value is a node of the tree and its key path.
type value struct {
	r    *reader
	node ast.Node
	at   *token.Token // where to point when the node itself has no place
	key  string
}

func (v value) origin() Origin {
	o := Origin{File: v.r.file}
	tok := v.at
	if v.node != nil && v.node.Type() != ast.NullType && v.node.Type() != ast.MappingType {
		tok = v.node.GetToken()
	}
	if tok != nil && tok.Position != nil {
		o.Line, o.Column = tok.Position.Line, tok.Position.Column
	}
	return o
}

// wrong records a mistake at v.
func (v value) wrong(found, want string) {
	o := v.origin()
	v.r.errs = append(v.r.errs, Error{File: o.File, Line: o.Line, Column: o.Column, Key: v.key, Found: found, Want: want})
}

// mismatch records that v is of the wrong type.
func (v value) mismatch(want string) { v.wrong("found "+describe(v.node), "want "+want) }

// describe says what a node is, in words.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return fmt.Sprintf("%q", clip(n.Value))
	case *ast.LiteralNode:
		return "a text of several lines"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + clip(raw(n))
	case *ast.BoolNode:
		return raw(n)
	case *ast.AnchorNode:
		return "an anchor (&)"
	case *ast.AliasNode:
		return "an alias (*)"
	case *ast.TagNode:
		return "a tag (!)"
	case *ast.MergeKeyNode:
		return "a merge key (<<)"
	}
	return "something else"
}

func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// raw is the text of a scalar as it stands in the file.
func raw(n ast.Node) string {
	if t := n.GetToken(); t != nil {
		return strings.TrimSpace(t.Value)
	}
	return ""
}

// entry is one key of a mapping with its value.
type entry struct {
	name string
	key  ast.Node
	value
}

// entries lists the keys of a mapping in the order of the file. child makes a key's path.
// Repeated keys are reported and left out; quoted and plain spellings are the same key.
func (v value) entries(what string, child func(name string) string) ([]entry, bool) {
	var pairs []*ast.MappingValueNode
	switch n := v.node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		v.mismatch(what)
		return nil, false
	}
	var out []entry
	seen := map[string]Origin{}
	for _, p := range pairs {
		key, name := ast.Node(p.Key), ""
		tok := key.GetToken()
		switch k := key.(type) {
		case *ast.StringNode:
			name = k.Value
		case *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode, *ast.NullNode:
			name = raw(k)
		default:
			value{r: v.r, node: key, at: tok, key: v.key}.wrong("found "+describe(key)+" as a key", "want a plain key; write it out")
			continue
		}
		e := entry{name: name, key: key, value: value{r: v.r, node: p.Value, at: tok, key: child(name)}}
		place := value{r: v.r, at: tok, key: e.value.key}
		if first, ok := seen[name]; ok {
			place.wrong("repeated key", fmt.Sprintf("it is already set in line %d", first.Line))
			continue
		}
		seen[name] = place.origin()
		out = append(out, e)
	}
	return out, true
}

// fields are the known keys of a mapping.
type fields struct {
	value
	set map[string]value
}

// object reads v as a mapping with the keys that the schema has at its path. ok is false when it is none.
func (v value) object() (fields, bool) {
	known := schema[schemaPath(v.key)]
	f := fields{value: v, set: map[string]value{}}
	list, ok := v.entries("a mapping with "+strings.Join(known, ", "), v.child)
	if !ok {
		return f, false
	}
	for _, e := range list {
		if !slices.Contains(known, e.name) {
			want := "the keys here are " + strings.Join(known, ", ")
			if near := nearest(e.name, known); near != "" {
				want = "did you mean " + near + "?"
			}
			value{r: v.r, at: e.at, key: e.value.key}.wrong("unknown key", want)
			continue
		}
		f.set[e.name] = e.value
	}
	return f, true
}

var (
	indexes = regexp.MustCompile(`\[[0-9]+\]`)
	account = regexp.MustCompile(`^accounts\.[^.]+`)
)

// schemaPath is a key path with [] for every index and * for the account id.
func schemaPath(key string) string {
	return account.ReplaceAllString(indexes.ReplaceAllString(key, "[]"), "accounts.*")
}

func (v value) child(name string) string {
	if v.key == "" {
		return name
	}
	return v.key + "." + name
}

// require reports that a key is missing.
func (f fields) require(names ...string) {
	for _, name := range names {
		if _, ok := f.set[name]; !ok {
			value{r: f.r, node: nil, at: f.place(), key: f.child(name)}.wrong("missing", "it has no default")
		}
	}
}

// place is where a mapping begins.
func (f fields) place() *token.Token {
	if m, ok := f.node.(*ast.MappingNode); ok {
		if m.IsFlowStyle {
			return m.Start
		}
		if len(m.Values) > 0 {
			return m.Values[0].Key.GetToken()
		}
	}
	return f.at
}

// read parses the field name into dst when the field is there, and remembers where it was.
func read[T any](f fields, name string, dst *T, parse func(value) (T, bool)) {
	v, ok := f.set[name]
	if !ok {
		return
	}
	if got, ok := parse(v); ok {
		*dst = got
		f.r.origins[v.key] = v.origin()
	}
}

// empty reports whether v is a list without items.
func (v value) empty() bool {
	seq, ok := v.node.(*ast.SequenceNode)
	return ok && len(seq.Values) == 0
}

// listOf reads a list of items. Items that are wrong are reported and left out.
func listOf[T any](what string, item func(value) (T, bool)) func(value) ([]T, bool) {
	return func(v value) ([]T, bool) {
		seq, ok := v.node.(*ast.SequenceNode)
		if !ok {
			v.mismatch("a list of " + what)
			return nil, false
		}
		var out []T
		for i, n := range seq.Values {
			e := value{r: v.r, node: n, at: v.at, key: fmt.Sprintf("%s[%d]", v.key, i)}
			if m, ok := n.(*ast.MappingNode); ok {
				e.at = fields{value: value{node: m, at: v.at}}.place()
			}
			if got, ok := item(e); ok {
				out = append(out, got)
			}
		}
		return out, true
	}
}

// scalar returns the text of a string and whether v is one. Numbers and booleans are not.
func (v value) scalar(what string) (string, bool) {
	if s, ok := v.node.(*ast.StringNode); ok {
		return s.Value, true
	}
	v.mismatch(what)
	return "", false
}
