package reference

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// metric is one family as the source writes it.
type metric struct {
	name, kind, help string
	labels           []string
}

// metricsPage lists the families that the source at path adds to the page of metrics.
func metricsPage(path string) (string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return "", fmt.Errorf("read the metrics: %w", err)
	}
	var list []metric
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			list = append(list, metricsOf(f)...)
		}
	}
	if len(list) == 0 {
		return "", fmt.Errorf("read the metrics: %s adds none", path)
	}
	slices.SortFunc(list, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	b.WriteString("# Metrics\n" + from("hub/daemon/metrics.go"))
	b.WriteString(`
At ` + "`metrics.listen`" + ` (default 127.0.0.1:9586), path ` + "`/metrics`" + `, in the text format of Prometheus. Beside it: ` + "`/healthz`" + ` is
200 while hubd moves, ` + "`/readyz`" + ` once it has made a pass of a known topology, not too long ago; otherwise 503 and the
reason. Labels are bounded: plane, verb, code, account, spoke; never a client or a prefix. docs/operations.md has alerts.

| metric | kind | labels | meaning |
|---|---|---|---|
`)
	for _, m := range list {
		fmt.Fprintf(&b, "| `hubd_%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), cell(m.help))
	}
	return b.String(), nil
}

// kinds are the names of the daemon's constants.
var kinds = map[string]string{"kindGauge": "gauge", "kindCounter": "counter", "kindHistogram": "histogram"}

// metricsOf finds the calls p.add(kind, name, help, value, labels...) and
// histogram.addTo(p, name, help) of one function.
func metricsOf(f *ast.FuncDecl) []metric {
	values := map[string]ast.Expr{} // of local variables: labels are put together in them
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
			for i, l := range a.Lhs {
				if id, ok := l.(*ast.Ident); ok {
					values[id.Name] = a.Rhs[i]
				}
			}
		}
		return true
	})
	var out []metric
	ast.Inspect(f.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		switch {
		case !ok:
		case fun.Sel.Name == "add" && len(call.Args) >= 4:
			kind, _ := call.Args[0].(*ast.Ident)
			if kind != nil && kinds[kind.Name] != "" {
				m := metric{name: text(call.Args[1]), kind: kinds[kind.Name], help: text(call.Args[2])}
				for _, a := range call.Args[4:] {
					m.labels = append(m.labels, labels(a, values)...)
				}
				out = append(out, m)
			}
		case fun.Sel.Name == "addTo" && len(call.Args) == 3:
			out = append(out, metric{name: text(call.Args[1]), kind: kinds["kindHistogram"], help: text(call.Args[2])})
		}
		return true
	})
	return out
}

// labels finds the names of labels in an expression and in the variables it uses.
func labels(e ast.Expr, values map[string]ast.Expr) []string {
	var out []string
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if v, ok := values[n.Name]; ok && v != e {
				out = append(out, labels(v, values)...)
			}
		case *ast.CompositeLit:
			if len(n.Elts) == 2 && text(n.Elts[0]) != "" {
				out = append(out, text(n.Elts[0]))
				return false
			}
		}
		return true
	})
	return out
}

// text is the value of a string literal, else "".
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}
