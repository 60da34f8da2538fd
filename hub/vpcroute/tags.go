package vpcroute

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/hub"
)

// The mirror of the ledger on our own side of a peering: which hub wrote, and to which
// tables. Only our account's tags are ever seen by us, so nobody else can write them.
const (
	tagHub    = "peerhub:hub"
	tagTables = "peerhub:tables." // and a number from 1
	tagLength = 255               // of a value
)

// mirrorTags are the tags for a set of tables, sorted.
func mirrorTags(vpc hub.VPCID, tables []hub.TableID) map[string]string {
	out := map[string]string{tagHub: string(vpc)}
	line, n := "", 1
	for _, t := range tables {
		if line != "" && len(line)+1+len(t) > tagLength {
			out[tagTables+strconv.Itoa(n)] = line
			line, n = "", n+1
		}
		line = strings.TrimSpace(line + " " + string(t))
	}
	if line != "" {
		out[tagTables+strconv.Itoa(n)] = line
	}
	return out
}

// mirrored reads the tables back.
func mirrored(tags map[string]string, vpc hub.VPCID) []hub.TableID {
	if tags[tagHub] != string(vpc) {
		return nil
	}
	var out []hub.TableID
	for key, value := range tags {
		if strings.HasPrefix(key, tagTables) {
			for _, t := range strings.Fields(value) {
				out = append(out, hub.TableID(t))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// mirror brings the tags up to the ledger, for the peerings that were written to. Tables
// are only ever added: a tag that names one too many costs nothing, as Recover looks at
// the routes. Peerings with the same tables share a call.
func (p *Plane) mirror(ctx context.Context) error {
	p.mu.Lock()
	batches := map[string][]string{}
	tags := map[string]map[string]string{}
	for id := range p.untagged {
		i := slices.IndexFunc(p.topology.Peerings, func(x hub.Peering) bool { return x.ID == id })
		if i < 0 || p.topology.Peerings[i].State.Terminal() {
			delete(p.untagged, id)
			continue
		}
		have := p.topology.Peerings[i].Tags
		if p.tagged[id] != nil {
			have = p.tagged[id]
		}
		tables := mirrored(have, p.topology.Hub.VPC)
		for key, e := range p.ledger {
			if key.Peering == id && e.Confirmed {
				tables = append(tables, key.Table)
			}
		}
		slices.Sort(tables)
		want := mirrorTags(p.topology.Hub.VPC, slices.Compact(tables))
		if contains(have, want) {
			delete(p.untagged, id)
			continue
		}
		name := fmt.Sprint(slices.Sorted(maps.Values(want)))
		batches[name] = append(batches[name], string(id))
		tags[name] = want
	}
	scope := p.topology.Hub.Scope
	p.mu.Unlock()
	if len(batches) == 0 {
		return nil
	}
	api, err := p.opts.Open(ctx, scope)
	if err != nil {
		return fmt.Errorf("tag peerings in %s: %w", scope, err)
	}
	for _, name := range slices.Sorted(maps.Keys(batches)) {
		slices.Sort(batches[name])
		in := &ec2.CreateTagsInput{Resources: batches[name]}
		for _, key := range slices.Sorted(maps.Keys(tags[name])) {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(tags[name][key])})
		}
		if _, err := api.CreateTags(ctx, in); err != nil {
			return fmt.Errorf("tag peerings in %s (they stay untagged until the next change): %w", scope, err)
		}
		p.mu.Lock()
		for _, id := range batches[name] {
			p.tagged[hub.PeeringID(id)] = tags[name]
			delete(p.untagged, hub.PeeringID(id))
		}
		p.mu.Unlock()
	}
	return nil
}

// contains reports whether have has all of want.
func contains(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// Recover rebuilds the ledger of a hub that lost its disk: the routes toward peerings
// of the hub VPC in the tables that the tags on our side name. Sorted.
func Recover(t hub.Topology) []hub.LedgerEntry {
	var out []hub.LedgerEntry
	for _, x := range t.Peerings {
		ours := mirrored(x.Tags, t.Hub.VPC)
		for _, table := range t.Tables {
			if !slices.Contains(ours, table.ID) {
				continue
			}
			side := hub.SideHub
			if table.VPC != t.Hub.VPC {
				side = hub.SideSpoke
			}
			for _, r := range table.Routes {
				if !r.Static || r.Target != string(x.ID) || !r.Destination.IsValid() {
					continue
				}
				out = append(out, hub.LedgerEntry{
					LedgerKey: hub.LedgerKey{Table: table.ID, Destination: r.Destination, Peering: x.ID},
					Scope:     table.Scope, Spoke: hub.SpokeID(x.Peer.VPC), Side: side, Confirmed: true})
			}
		}
	}
	slices.SortFunc(out, func(a, b hub.LedgerEntry) int {
		return place{a.Table, a.Destination}.compare(place{b.Table, b.Destination})
	})
	return out
}
