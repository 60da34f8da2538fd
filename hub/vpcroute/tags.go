package vpcroute

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// The mirror of the ledger on our own side of a peering: which hub wrote, and which
// routes, so that an instance with an empty disk finds exactly those. Two instances may
// serve one VPC, each with a mirror of its own. Only our account's tags are ever seen by
// us, so nobody else can write them.
const (
	tagHub    = "peerhub:hub"
	tagRoutes = "peerhub:routes." // the instance and a dot, where it is known; and a number from 1
	tagLength = 255               // of a value; AWS takes 256 characters
	// tagMost bounds the tags with routes. AWS allows 50 on a resource, people's own among
	// them. What has no room is not found again: it is left over, never taken wrongly.
	tagMost = 40
)

// mirrorTags are the tags for a set of routes: each value is words, a table before its
// destinations. Without routes there are none.
func mirrorTags(vpc hub.VPCID, writer hub.InstanceID, places []place) map[string]string {
	out := map[string]string{}
	prefix := tagRoutes
	if writer != "" {
		prefix += string(writer) + "."
	}
	line, table := "", hub.TableID("")
	flush := func() {
		if line != "" && len(out) < tagMost {
			out[prefix+strconv.Itoa(len(out)+1)] = line
		}
		line, table = "", ""
	}
	for _, at := range places {
		words := " " + at.dest.String()
		if at.table != table {
			words = " " + string(at.table) + words
		}
		if len(line)+len(words) > tagLength {
			flush()
			words = " " + string(at.table) + " " + at.dest.String()
		}
		line, table = strings.TrimPrefix(line+words, " "), at.table
	}
	flush()
	if len(out) > 0 {
		out[tagHub] = string(vpc)
	}
	return out
}

// writerOf is the instance that a tag with routes is of, "" where none is named.
func writerOf(key string) hub.InstanceID {
	writer, _, named := strings.Cut(strings.TrimPrefix(key, tagRoutes), ".")
	if !named {
		return ""
	}
	return hub.InstanceID(writer)
}

// placesIn reads a value back. Words that it does not know are passed over.
func placesIn(value string) []place {
	var out []place
	var table hub.TableID
	for _, word := range strings.Fields(value) {
		if strings.HasPrefix(word, "rtb-") {
			table = hub.TableID(word)
		} else if dest, err := netip.ParsePrefix(word); err == nil && table != "" {
			out = append(out, place{table, dest.Masked()})
		}
	}
	return out
}

// mirrored reads the routes back, but for those of other instances that live.
func mirrored(tags map[string]string, vpc hub.VPCID, living ...hub.InstanceID) []place {
	var out []place
	for key, value := range mirrorOf(tags, vpc) {
		if key != tagHub && !slices.Contains(living, writerOf(key)) {
			out = append(out, placesIn(value)...)
		}
	}
	slices.SortFunc(out, place.compare)
	return slices.Compact(out)
}

// mirrorOf are those of the tags that are a mirror of this hub VPC, whoever wrote it.
func mirrorOf(tags map[string]string, vpc hub.VPCID) map[string]string {
	out := map[string]string{}
	if tags[tagHub] != string(vpc) {
		return out
	}
	for key, value := range tags {
		if key == tagHub || strings.HasPrefix(key, tagRoutes) {
			out[key] = value
		}
	}
	return out
}

// Writers names the other instances that the tags of this hub VPC's peerings speak of.
func Writers(t hub.Topology) []hub.InstanceID {
	var out []hub.InstanceID
	for _, x := range t.Peerings {
		for key := range mirrorOf(x.Tags, t.Hub.VPC) {
			if w := writerOf(key); key != tagHub && w != "" && w != t.Hub.Instance {
				out = append(out, w)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ownMirror divides a mirror into what is ours to change, and whether others have a part in
// it. What another instance wrote of routes that are all ours by now, we have taken over.
// The lock is held.
func (p *Plane) ownMirror(id hub.PeeringID, tags map[string]string) (own map[string]string, others bool) {
	own = map[string]string{}
	for key, value := range mirrorOf(tags, p.topology.Hub.VPC) {
		w := writerOf(key)
		ours := key == tagHub || w == "" || w == p.topology.Hub.Instance ||
			!slices.ContainsFunc(placesIn(value), func(at place) bool {
				return !p.held[hub.LedgerKey{Table: at.table, Destination: at.dest, Peering: id}]
			})
		if ours {
			own[key] = value
		}
		others = others || !ours
	}
	return own, others
}

// retag is a call of CreateTags (values) and one of DeleteTags (stale keys) that some
// peerings share.
type retag struct {
	values   map[string]string
	stale    []string
	peerings []string
	after    map[string]string // the whole mirror afterwards
}

// mirror brings the tags up to the ledger, for the peerings whose records have changed.
// Peerings that need the same share a call.
func (p *Plane) mirror(ctx context.Context) error {
	batches := p.retags()
	if len(batches) == 0 {
		return nil
	}
	scope := p.topology.Hub.Scope
	api, err := p.opts.Open(ctx, scope)
	if err != nil {
		return fmt.Errorf("tag peerings in %s: %w", scope, err)
	}
	for _, name := range slices.Sorted(maps.Keys(batches)) {
		b := batches[name]
		slices.Sort(b.peerings)
		if len(b.values) > 0 {
			in := &ec2.CreateTagsInput{Resources: b.peerings}
			for _, key := range slices.Sorted(maps.Keys(b.values)) {
				in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(b.values[key])})
			}
			failpoint.Hit("tags.create")
			if _, err := api.CreateTags(ctx, in); err != nil {
				return fmt.Errorf("tag peerings in %s (they stay as they are until the next change): %w", scope, err)
			}
			failpoint.Hit("tags.created")
		}
		if len(b.stale) > 0 {
			in := &ec2.DeleteTagsInput{Resources: b.peerings}
			for _, key := range b.stale {
				in.Tags = append(in.Tags, types.Tag{Key: aws.String(key)})
			}
			if _, err := api.DeleteTags(ctx, in); err != nil {
				return fmt.Errorf("remove tags from peerings in %s (they stay until the next change): %w", scope, err)
			}
			failpoint.Hit("tags.deleted")
		}
		p.mu.Lock()
		for _, id := range b.peerings {
			p.tagged[hub.PeeringID(id)] = b.after
			delete(p.untagged, hub.PeeringID(id))
		}
		p.mu.Unlock()
	}
	return nil
}

// retags says which calls the mirror needs.
func (p *Plane) retags() map[string]*retag {
	p.mu.Lock()
	defer p.mu.Unlock()
	batches := map[string]*retag{}
	vpc := p.topology.Hub.VPC
	for id := range p.untagged {
		i := slices.IndexFunc(p.topology.Peerings, func(x hub.Peering) bool { return x.ID == id })
		if i < 0 || p.topology.Peerings[i].State.Terminal() {
			delete(p.untagged, id) // its tags go with it
			continue
		}
		have, others := p.ownMirror(id, p.topology.Peerings[i].Tags)
		if known := p.tagged[id]; known != nil {
			have = known
		}
		var places []place
		for key, e := range p.ledger {
			if key.Peering == id && e.Confirmed {
				places = append(places, place{key.Table, key.Destination})
			}
		}
		slices.SortFunc(places, place.compare)
		b := &retag{values: map[string]string{}, after: mirrorTags(vpc, p.topology.Hub.Instance, places)}
		for key, value := range b.after {
			if have[key] != value {
				b.values[key] = value
			}
		}
		for _, key := range slices.Sorted(maps.Keys(have)) {
			if _, keep := b.after[key]; !keep && (key != tagHub || !others) {
				b.stale = append(b.stale, key)
			}
		}
		if len(b.values) == 0 && len(b.stale) == 0 {
			delete(p.untagged, id)
			continue
		}
		name := fmt.Sprint(b.after, b.values, b.stale)
		if batches[name] == nil {
			batches[name] = b
		}
		batches[name].peerings = append(batches[name].peerings, string(id))
	}
	return batches
}

// Recheck has the next Apply compare the tags of every peering with the ledger, also where
// no record changes: an earlier cleanup may not have been allowed to remove them.
func (p *Plane) Recheck() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.opts.Topology().Peerings {
		p.untagged[x.ID] = true
	}
}

// Release gives up every route that is ours: the records and the tags go, the routes stay
// where they are and belong to whoever finds them.
func (p *Plane) Release(ctx context.Context) error {
	p.Recheck()
	if _, err := p.Observe(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	for key := range p.ledger {
		if err := p.forget(ctx, key); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	p.mu.Unlock()
	return p.mirror(ctx)
}

// Recover rebuilds the ledger of a hub that lost its disk: the routes that the tags on our
// side name and that still lead to that peering. A table that cannot be seen now is taken
// at the tags' word: nothing is done to it before it is seen. What living instances, which
// are not this one, have written is theirs. Sorted.
func Recover(t hub.Topology, living ...hub.InstanceID) []hub.LedgerEntry {
	tables := make(map[hub.TableID]hub.Table, len(t.Tables))
	for _, x := range t.Tables {
		tables[x.ID] = x
	}
	fresh := map[hub.Scope]bool{}
	for _, s := range t.Sources {
		fresh[s.Scope] = s.Fresh
	}
	var out []hub.LedgerEntry
	for _, x := range t.Peerings {
		for _, at := range mirrored(x.Tags, t.Hub.VPC, living...) {
			e := hub.LedgerEntry{LedgerKey: hub.LedgerKey{Table: at.table, Destination: at.dest, Peering: x.ID},
				Scope: x.Peer.Scope, Spoke: hub.SpokeID(x.Peer.VPC), Side: hub.SideSpoke, Confirmed: true}
			table, seen := tables[at.table]
			switch {
			case !seen && (fresh[x.Peer.Scope] || x.State.Terminal()):
				continue // it is gone, or was removed when the peering ended
			case !seen:
			case !slices.ContainsFunc(table.Routes, func(r hub.Route) bool {
				return r.Static && r.Target == string(x.ID) && r.Destination == at.dest
			}):
				continue
			default:
				e.Scope = table.Scope
				if table.VPC == t.Hub.VPC {
					e.Side = hub.SideHub
				}
			}
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b hub.LedgerEntry) int {
		return place{a.Table, a.Destination}.compare(place{b.Table, b.Destination})
	})
	return out
}
