package main

import (
	"fmt"
	"strings"

	"peerhub/hub"
)

// terraform writes the wanted VPC routes as resources. Each is imported first, for it is there
// already; one provider alias per account and region is left to whoever keeps the files.
func terraform(want hub.Desired) string {
	var b strings.Builder
	scope := hub.Scope{}
	for _, r := range want.Routes {
		if r.Scope != scope {
			scope = r.Scope
			fmt.Fprintf(&b, "# account %s, region %s: provider aws.%s\n", scope.Account, scope.Region, alias(scope))
		}
		name := strings.NewReplacer(".", "_", "/", "_", ":", "_").Replace(fmt.Sprintf("%s_%s", r.Table, r.Destination))
		fmt.Fprintf(&b, `import {
  to = aws_route.%[1]s
  id = "%[2]s_%[3]s"
}
resource "aws_route" "%[1]s" {
  provider                  = aws.%[4]s
  route_table_id            = "%[2]s"
  destination_cidr_block    = "%[3]s"
  vpc_peering_connection_id = "%[5]s"
}

`, name, r.Table, r.Destination, alias(scope), r.Peering)
	}
	if b.Len() == 0 {
		return "# no VPC route is wanted\n"
	}
	return b.String()
}

func alias(s hub.Scope) string {
	return "a" + string(s.Account) + "_" + strings.ReplaceAll(string(s.Region), "-", "_")
}
