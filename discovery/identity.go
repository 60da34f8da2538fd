package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"peerhub/hub"
	"peerhub/hub/awsapi"
)

// HubFacts is what the config states about the hub. IMDS and EC2 know the rest; with
// Region and Interfaces stated, IMDS is not asked at all.
type HubFacts struct {
	Name       string
	Region     hub.Region
	VPC        hub.VPCID
	Instance   hub.InstanceID
	Account    hub.AccountID
	Interfaces []InterfaceFact // empty: all of the instance's, in the order of their device numbers
}

// InterfaceFact names an interface of the hub: by the kernel's name, AWS's id, or both.
type InterfaceFact struct {
	Name string
	ENI  hub.InterfaceID
}

// KernelInterface is an interface as the kernel of the hub knows it.
type KernelInterface struct {
	Name, MAC string
	Addresses []netip.Addr
}

// identity is who the hub is, as far as it does not change while it runs.
type identity struct {
	scope     hub.Scope
	partition string
	instance  hub.InstanceID
}

// identityLasts is how long an identity is believed before it is asked for again; a
// refresh that fails keeps it.
const identityLasts = time.Hour

// identify says who we are: the config first, then IMDS, then STS, which also proves
// that the credentials belong to the hub's account.
func (d *Discovery) identify(ctx context.Context) (identity, error) {
	now := d.opts.Now()
	if d.identity.scope.Region != "" && now.Before(d.identityUntil) {
		return d.identity, nil
	}
	id, err := d.ask(ctx)
	if err == nil {
		d.identity, d.identityUntil = id, now.Add(identityLasts)
		return id, nil
	}
	if d.identity.scope.Region != "" {
		d.identityUntil = now.Add(identityLasts / 12)
		return d.identity, nil
	}
	return identity{}, err
}

func (d *Discovery) ask(ctx context.Context) (identity, error) {
	f := d.opts.Hub
	id := identity{scope: hub.Scope{Account: f.Account, Region: f.Region}, instance: f.Instance}
	if f.Region == "" || f.Instance == "" && !d.interfacesStated() {
		doc, err := d.opts.Sessions.IMDS().GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
		if err != nil {
			return identity{}, fmt.Errorf("ask IMDS who we are (without it, state hub.region, hub.vpc and hub.interfaces with their eni): %w", err)
		}
		if id.scope.Region == "" {
			id.scope.Region = hub.Region(doc.Region)
		}
		if id.instance == "" {
			id.instance = hub.InstanceID(doc.InstanceID)
		}
		if id.scope.Account == "" {
			id.scope.Account = hub.AccountID(doc.AccountID)
		}
	}
	who, err := d.opts.Sessions.Identity(ctx, id.scope, awsapi.Role{})
	if err != nil {
		return identity{}, err
	}
	if id.scope.Account != "" && id.scope.Account != who.Account {
		return identity{}, fmt.Errorf("the hub is in account %s, but its AWS credentials are %s", id.scope.Account, who.ARN)
	}
	id.scope.Account, id.partition = who.Account, who.Partition
	return id, nil
}

// interfacesStated reports whether the config alone says which interfaces are meant.
func (d *Discovery) interfacesStated() bool {
	return len(d.opts.Hub.Interfaces) > 0 && !slices.ContainsFunc(d.opts.Hub.Interfaces, func(i InterfaceFact) bool { return i.ENI == "" })
}

// named gives interfaces the kernel's names: as stated, else by MAC address, else by
// the address they carry (a veth in place of an ENI has a MAC of its own). With stated
// interfaces only those are kept, in the order stated.
func named(list []hub.Interface, facts []InterfaceFact, kernel []KernelInterface) []hub.Interface {
	for i := range list {
		n := &list[i]
		if k := slices.IndexFunc(kernel, func(k KernelInterface) bool { return n.MAC != "" && k.MAC == n.MAC }); k >= 0 {
			n.Name = kernel[k].Name
		} else if k := slices.IndexFunc(kernel, func(k KernelInterface) bool { return slices.Contains(k.Addresses, n.Address) }); k >= 0 {
			n.Name = kernel[k].Name
		}
	}
	if len(facts) == 0 {
		return list
	}
	var out []hub.Interface
	for _, f := range facts {
		for _, n := range list {
			if f.ENI != "" && n.ID == f.ENI || f.ENI == "" && f.Name != "" && n.Name == f.Name {
				if f.Name != "" {
					n.Name = f.Name
				}
				out = append(out, n)
			}
		}
	}
	return out
}
