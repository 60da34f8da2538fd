package vpnconf

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"peerhub/hub"
)

// Text prints want as shell lines that write the same routes into the same files, without
// the moments.
func Text(d hub.Desired) string {
	var s strings.Builder
	dirs := byDir(d.Base.Servers)
	for _, path := range slices.Sorted(maps.Keys(dirs)) {
		var lines []line
		for _, l := range wantLines(d, dirs[path]) {
			lines = append(lines, line{prefix: l.prefix})
		}
		slices.SortFunc(lines, compareLines)
		fmt.Fprintf(&s, "cat > %s <<'EOF'\n", shell(filepath.Join(path, routesName)))
		for _, l := range lines {
			s.WriteString(push(l.prefix) + "\n")
		}
		fmt.Fprintf(&s, "EOF\nprintf '%%s\\n' %s > %s\n", shell(include(path)), shell(filepath.Join(path, defaultName)))
	}
	return s.String()
}

// shell quotes a word for sh.
func shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
