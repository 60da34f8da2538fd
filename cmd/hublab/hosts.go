package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"peerhub/test/lab"
)

func (a *app) hosts() *cobra.Command {
	c := &cobra.Command{
		Use: "hosts", Short: "List the hosts: kind, account, namespace, addresses", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			info, err := client.Info(c.Context())
			if err != nil {
				return err
			}
			if a.format == "json" {
				return writeJSON(c.OutOrStdout(), "hosts", hostsJSON(info.Hosts))
			}
			var rows [][]string
			for _, h := range info.Hosts {
				rows = append(rows, []string{h.Name, string(h.Kind), h.Account, h.Namespace, addresses(h)})
			}
			return writeTable(c.OutOrStdout(), []string{"HOST", "KIND", "ACCOUNT", "NAMESPACE", "ADDRESSES"}, rows)
		},
	}
	a.formatFlag(c)
	return c
}

func (a *app) replace() *cobra.Command {
	return &cobra.Command{
		Use: "replace hub", Short: "End the hub's instance and put a new one in its place, with an empty disk",
		Long: `Ends the hub's instance and puts a new one in its place: another instance, interface and
private address in the same subnet, the same role, groups and Elastic IP, a fresh kernel, and
a disk on which hubd has never run. What ran before is started as at boot.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			h, err := client.Replace(c.Context(), words[0])
			if err != nil {
				return err
			}
			say(c.OutOrStdout(), "%s is %s with %s, %s", h.Name, h.Instance, h.ENI, addresses(h))
			return nil
		},
	}
}

// hostJSON is a host with null for what it has not.
type hostJSON struct {
	Name      string       `json:"name"`
	Kind      lab.Kind     `json:"kind"`
	Account   *string      `json:"account"`
	Namespace string       `json:"namespace"`
	Addresses []netip.Addr `json:"addresses"`
	Public    *netip.Addr  `json:"public"`
	VPC       *string      `json:"vpc"`
	Instance  *string      `json:"instance"`
	ENI       *string      `json:"eni"`
}

func hostsJSON(hosts []lab.Host) []hostJSON {
	out := []hostJSON{}
	for _, h := range hosts {
		out = append(out, hostJSON{h.Name, h.Kind, orNull(h.Account), h.Namespace, h.Addresses, orNull(h.Public),
			orNull(h.VPC), orNull(h.Instance), orNull(h.ENI)})
	}
	return out
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// addresses are a host's own, then in parentheses what the internet sees instead.
func addresses(h lab.Host) string {
	var out []string
	seen := false
	for _, x := range h.Addresses {
		out = append(out, x.String())
		seen = seen || x == h.Public
	}
	if h.Public.IsValid() && !seen {
		out = append(out, "("+h.Public.String()+")")
	}
	return strings.Join(out, " ")
}

func (a *app) exec() *cobra.Command {
	c := &cobra.Command{
		Use: "exec HOST -- CMD [ARG]...", Short: "Run a program in a host",
		Example: "  hublab exec laptop1 -- curl -s http://10.110.0.10/",
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, words []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			info, err := client.Info(c.Context())
			if err != nil {
				return err
			}
			for _, h := range info.Hosts {
				if h.Name == words[0] {
					return become(os.Environ(), append([]string{"ip", "netns", "exec", h.Namespace}, program(words)...)...)
				}
			}
			return usageError{fmt.Errorf("no host %q; hublab hosts lists them", words[0])}
		},
	}
	// What follows HOST is the program's, dashes and all.
	c.Flags().SetInterspersed(false)
	return c
}

// program is what follows the first word, without the two dashes between them.
func program(words []string) []string {
	if len(words) > 2 && words[1] == "--" {
		return words[2:]
	}
	return words[1:]
}

// become replaces this process by a program: its exit code and signals are ours.
func become(env []string, argv ...string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("find %s: %w", argv[0], err)
	}
	signalsBack()
	if err := syscall.Exec(path, argv, env); err != nil {
		return fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	return errors.New("unreachable: the program has replaced this process")
}
