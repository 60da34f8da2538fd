package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/goccy/go-yaml"

	"peerhub/test/fabric"
	"peerhub/test/lab"
	"peerhub/test/soak/admin"
)

// model is who should reach whom, and what stands where for that.
type model struct {
	lab   *lab.Lab
	admin *admin.Admin
}

// spoke is a VPC that clients should reach.
type spoke struct {
	peering  string
	vpc      string
	account  string
	prefixes []netip.Prefix
}

// spokes asks AWS which peerings are active, and the config file what of them is refused.
func (m *model) spokes(ctx context.Context) ([]spoke, error) {
	list, err := m.admin.Peerings(ctx)
	if err != nil {
		return nil, err
	}
	refused, err := m.refused()
	if err != nil {
		return nil, err
	}
	var out []spoke
	for _, p := range list {
		if p.Status == nil || p.Status.Code != types.VpcPeeringConnectionStateReasonCodeActive {
			continue
		}
		peer := p.AccepterVpcInfo
		if aws.ToString(peer.VpcId) == m.lab.Spec.ID("vpc", lab.HostHub) {
			peer = p.RequesterVpcInfo
		}
		s := spoke{peering: aws.ToString(p.VpcPeeringConnectionId), vpc: aws.ToString(peer.VpcId), account: aws.ToString(peer.OwnerId)}
		for _, c := range peer.CidrBlockSet {
			prefix, err := netip.ParsePrefix(aws.ToString(c.CidrBlock))
			if err != nil {
				return nil, fmt.Errorf("a prefix of %s: %w", s.peering, err)
			}
			if !slices.ContainsFunc(refused[s.account], prefix.Overlaps) && !slices.ContainsFunc(refused[""], prefix.Overlaps) {
				s.prefixes = append(s.prefixes, prefix)
			}
		}
		if len(s.prefixes) > 0 {
			out = append(out, s)
		}
	}
	return out, nil
}

// refused reads from the config file which prefixes the operator does not want: of one
// account, and of all ("").
func (m *model) refused() (map[string][]netip.Prefix, error) {
	b, err := os.ReadFile(configPath(m.lab))
	if err != nil {
		return nil, err
	}
	var file struct {
		Protect  []string
		Accounts map[string]struct{ Exclude []string }
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	out := map[string][]netip.Prefix{}
	add := func(account string, list []string) {
		for _, s := range list {
			if p, perr := netip.ParsePrefix(s); perr == nil {
				out[account] = append(out[account], p)
			} else {
				err = errors.Join(err, perr)
			}
		}
	}
	add("", file.Protect)
	for id, a := range file.Accounts {
		add(id, a.Exclude)
	}
	return out, err
}

func configPath(l *lab.Lab) string { return filepath.Join(l.HubdDir(), "hubd.yaml") }

// reach says whether a host of the office or a laptop should reach an address.
func reach(spokes []spoke, to netip.Addr) bool {
	return slices.ContainsFunc(spokes, func(s spoke) bool {
		return slices.ContainsFunc(s.prefixes, func(p netip.Prefix) bool { return p.Contains(to) })
	})
}

// compare holds AWS's tables and the hub's kernel against the model.
func (m *model) compare(ctx context.Context) error {
	spokes, err := m.spokes(ctx)
	if err != nil {
		return err
	}
	var routes, prefixes []string
	hubTable, back := m.lab.Spec.ID("rtb", "hub-public"), m.lab.Spec.HubSubnet().String()
	for _, s := range spokes {
		for _, p := range s.prefixes {
			routes = append(routes, hubTable+" "+p.String()+" "+s.peering)
			prefixes = append(prefixes, p.String())
		}
		tables, err := m.admin.Tables(ctx, s.account, s.vpc)
		if err != nil {
			return err
		}
		for _, t := range tables {
			routes = append(routes, aws.ToString(t.RouteTableId)+" "+back+" "+s.peering)
		}
	}
	have, err := m.routes(ctx)
	errs := []error{err, differ("AWS", routes, have)}
	for what, line := range map[string]string{"the kernel": "ip -4 route show table 26741", "the firewall": "nft list map inet hubd spokes4"} {
		text, err := fabric.Exec(ctx, m.lab.Spec.Prefix+lab.HostHub, strings.Fields(line)...)
		errs = append(errs, err, differ(what, prefixes, m.prefixesIn(text)))
	}
	return errors.Join(errs...)
}

// routes are all routes to peerings in the tables that hubd may write to, of all VPCs.
func (m *model) routes(ctx context.Context) ([]string, error) {
	type place struct{ account, vpc string }
	places := []place{{m.lab.Spec.HubAccount, m.lab.Spec.ID("vpc", lab.HostHub)}}
	for _, h := range m.lab.Spec.Hosts() {
		if h.Kind == lab.KindService && h.VPC != "" {
			places = append(places, place{h.Account, h.VPC})
		}
	}
	var out []string
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.vpc, b.vpc) })
	for _, p := range slices.Compact(places) {
		tables, err := m.admin.Tables(ctx, p.account, p.vpc)
		if err != nil {
			return nil, err
		}
		for _, t := range tables {
			if aws.ToString(t.RouteTableId) == m.lab.Spec.ID("rtb", "hub-main") {
				continue // not hubd's: its subnets are none of the hub's
			}
			for _, r := range t.Routes {
				if id := aws.ToString(r.VpcPeeringConnectionId); id != "" {
					out = append(out, aws.ToString(t.RouteTableId)+" "+aws.ToString(r.DestinationCidrBlock)+" "+id)
				}
			}
		}
	}
	return out, nil
}

var prefixText = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+/\d+\b`)

// prefixesIn are the prefixes in a text, but for the hub VPC's own.
func (m *model) prefixesIn(text string) []string {
	return slices.DeleteFunc(prefixText.FindAllString(text, -1), func(s string) bool {
		p, err := netip.ParsePrefix(s)
		return err == nil && m.lab.Spec.HubVPC.Contains(p.Addr())
	})
}

// differ names what is missing and what is there too many.
func differ(what string, want, have []string) error {
	only := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
	}
	lacks, more := only(want, have), only(have, want)
	if len(lacks)+len(more) == 0 {
		return nil
	}
	return fmt.Errorf("%s lacks %q and has %q too many", what, lacks, more)
}
