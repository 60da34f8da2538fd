package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerhub/test/lab"
)

// followEvery is how often -f looks for news.
const followEvery = 200 * time.Millisecond

func (a *app) drops() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "drops", Short: "Count dropped packets by place and reason", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			list, err := client.Drops(c.Context())
			if err != nil {
				return err
			}
			if follow {
				return a.followDrops(c.Context(), client, list, c.OutOrStdout())
			}
			if a.format == "json" {
				return writeJSON(c.OutOrStdout(), "drops", list)
			}
			var rows [][]string
			for _, d := range list {
				rows = append(rows, []string{d.Name, d.Reason, strconv.FormatUint(d.Count, 10), d.Place, d.Last})
			}
			return writeTable(c.OutOrStdout(), []string{"PLACE", "REASON", "COUNT", "ID", "LAST"}, rows)
		},
	}
	a.formatFlag(c)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "a line whenever a count has risen")
	return c
}

// followDrops prints the counts that rise from now on, until interrupted.
func (a *app) followDrops(ctx context.Context, client *lab.Client, list []lab.Drop, w io.Writer) error {
	seen := map[[2]string]uint64{}
	for first := true; ; first = false {
		for _, d := range list {
			key := [2]string{d.Place, d.Reason}
			risen := d.Count - seen[key]
			seen[key] = d.Count
			if first || risen == 0 {
				continue
			}
			if a.format == "json" {
				if err := json.NewEncoder(w).Encode(d); err != nil {
					return err
				}
				continue
			}
			if _, err := fmt.Fprintf(w, "%-14s %-22s +%-6d %s\n", d.Name, d.Reason, risen, d.Last); err != nil {
				return err
			}
		}
		if !wait(ctx) {
			return nil
		}
		var err error
		if list, err = client.Drops(ctx); err != nil {
			return unlessInterrupted(ctx, err)
		}
	}
}

// wait is one turn of following; false when an interrupt ended it.
func wait(ctx context.Context) bool {
	t := time.NewTimer(followEvery)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// unlessInterrupted forgives what failed because a person has seen enough.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *app) log() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "log", Short: "List every API request: time, account, action, parameters, code", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			list, err := client.Requests(c.Context(), 0)
			if err != nil {
				return err
			}
			if a.format == "json" && !follow {
				return writeJSON(c.OutOrStdout(), "requests", list)
			}
			for n := 0; ; {
				for _, r := range list {
					n = r.N
					if err := a.writeRequest(c.OutOrStdout(), r); err != nil {
						return err
					}
				}
				if !follow {
					return nil
				}
				if !wait(c.Context()) {
					return nil
				}
				if list, err = client.Requests(c.Context(), n); err != nil {
					return unlessInterrupted(c.Context(), err)
				}
			}
		},
	}
	a.formatFlag(c)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes; JSON is then one object a line")
	return c
}

func (a *app) writeRequest(w io.Writer, r lab.Request) error {
	if a.format == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	var params []string
	for _, k := range slices.Sorted(maps.Keys(r.Params)) {
		params = append(params, k+"="+strings.Join(r.Params[k], ","))
	}
	code := r.Code
	if code == "" {
		code = "ok"
	}
	_, err := fmt.Fprintf(w, "%s %-12s %-14s %-34s %-24s %s\n", r.Time.Format("15:04:05.000"), r.Account, r.Region, r.Action, code, strings.Join(params, " "))
	return err
}
