package ec2sim_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testNames lists this package's tests, and as "Test/name" the rules of those that
// check a table of rules.
func testNames(t *testing.T) (tests, rules []string) {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(fn.Name.Name, "Test") {
				continue
			}
			tests = append(tests, fn.Name.Name)
			for _, rule := range ruleNames(fn) {
				rules = append(rules, fn.Name.Name+"/"+rule)
			}
		}
	}
	return tests, rules
}

// ruleNames lists the names in the []rule literals of a function.
func ruleNames(fn *ast.FuncDecl) (out []string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		list, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		array, ok := list.Type.(*ast.ArrayType)
		if id, isIdent := arrayElement(array, ok); !isIdent || id != "rule" {
			return true
		}
		ast.Inspect(list, func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, isKey := kv.Key.(*ast.Ident)
			text, isText := kv.Value.(*ast.BasicLit)
			if isKey && isText && key.Name == "name" {
				if s, err := strconv.Unquote(text.Value); err == nil {
					out = append(out, s)
				}
			}
			return true
		})
		return false
	})
	return out
}

func arrayElement(a *ast.ArrayType, ok bool) (string, bool) {
	if !ok || a == nil {
		return "", false
	}
	id, ok := a.Elt.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name, true
}

// TestDocumentationListsEveryRuleAndItsTest keeps docs/lab-rules.md true: it names
// every rule that is tested, and no test that does not exist.
func TestDocumentationListsEveryRuleAndItsTest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "lab-rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, rules := testNames(t)
	if len(rules) < 80 {
		t.Fatalf("only %d rules found in the tests", len(rules))
	}
	var named []string
	for _, m := range regexp.MustCompile("`(Test[^`]+)`").FindAllStringSubmatch(string(text), -1) {
		named = append(named, m[1])
	}
	for _, n := range named {
		if !slices.Contains(tests, n) && !slices.Contains(rules, n) {
			t.Errorf("docs/lab-rules.md names %q, which is no test here", n)
		}
	}
	for _, r := range rules {
		if !slices.Contains(named, r) {
			t.Errorf("docs/lab-rules.md lacks the rule %q", r)
		}
	}
	for _, f := range slices.Sorted(slices.Values(tests)) {
		covered := slices.ContainsFunc(named, func(n string) bool { return n == f || strings.HasPrefix(n, f+"/") })
		if !covered && f != "TestDocumentationListsEveryRuleAndItsTest" {
			t.Errorf("docs/lab-rules.md lacks %s", f)
		}
	}
}

// TestPackageUsesTheStandardLibraryOnly: a path whose first element has a dot, or
// that is ours, is of a module.
func TestPackageUsesTheStandardLibraryOnly(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			checked++
			first, _, _ := strings.Cut(strings.Trim(i.Path.Value, `"`), "/")
			if strings.Contains(first, ".") || first == "peerhub" {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
	if checked == 0 {
		t.Error("no import was looked at")
	}
}
