package main

import (
	"context"
	"fmt"

	"peerhub/hub"
)

// living returns those of some instances that are there still: an instance that was
// terminated has no network interface any more. A hub that starts with an empty disk takes
// over what only those wrote that are gone.
func (p *parts) living(ctx context.Context, scope hub.Scope, instances []hub.InstanceID) ([]hub.InstanceID, error) {
	var out []hub.InstanceID
	for _, id := range instances {
		attached, err := p.discovery.Attached(ctx, scope, id)
		if err != nil {
			return nil, fmt.Errorf("see whether %s, which made routes for this VPC, is there still: %w", id, err)
		}
		if attached {
			out = append(out, id)
		}
	}
	return out, nil
}
