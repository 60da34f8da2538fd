package main

import (
	"context"
	"fmt"
	"io"
)

// giveUpRoutes leaves the VPC routes where they are and forgets that they are ours, in the
// ledger and in the tags. It says which.
func (p *parts) giveUpRoutes(ctx context.Context, dryRun bool, stdout io.Writer) error {
	entries, err := p.state.Entries(ctx)
	if err != nil {
		return err
	}
	if !dryRun {
		if err := p.vpcroute.Release(ctx); err != nil {
			return err
		}
	}
	for _, e := range entries {
		fmt.Fprintf(stdout, "= vpcroute %s %s  %s (stays)\n", e.Table, e.Destination, e.Peering)
	}
	return nil
}
