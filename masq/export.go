package masq

import (
	"strings"

	"peerhub/hub"
)

// ExportTable is the table that an export makes.
const ExportTable = "vpn_hub"

// Export is the want as nft text in a table of its own, which may stand beside ours and
// stays when ours goes. Loading it again replaces it in one piece.
func Export(want hub.Desired) string {
	text := strings.Replace(Text(want), "table inet "+DefaultTable+" {", "table inet "+ExportTable+" {", 1)
	return "table inet " + ExportTable + " {}\ndelete table inet " + ExportTable + "\n" + text
}
