package hub_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"peerhub/hub"
)

// codesInSource returns the values of the constants of type Code in problem.go.
func codesInSource(t *testing.T) []hub.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []hub.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != "Code" {
			t.Errorf("%s in problem.go is not of type Code", spec.Names[0])
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, hub.Code(text))
		}
		return true
	})
	if len(out) < 30 {
		t.Fatalf("only %d codes found", len(out))
	}
	return out
}
