package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"peerhub/test/lab"
)

// order is what up tells the background process, as JSON on its standard input.
type order struct {
	Spec        lab.Spec `json:"spec"`
	WithoutHubd bool     `json:"without_hubd"`
	Hubd        string   `json:"hubd"`
	Config      string   `json:"config"`
	OpenVPN     string   `json:"openvpn"`
	Throttle    bool     `json:"throttle"`
}

// upPatience is how long a lab may take to come up, with many spokes on a busy machine.
const upPatience = 3 * time.Minute

func (a *app) up() *cobra.Command {
	var o order
	var spec string
	var more int
	c := &cobra.Command{
		Use:   "up",
		Short: "Build the lab and leave it up",
		Example: `  hublab up                        with hubd beside this program
  hublab up --without-hubd         the hub as a company has it, for the recipe
  hublab up --spokes 20            twenty more peered accounts
  hublab up --spec renumbered.json other prefixes, names, region and ids`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			o.Spec = lab.DefaultSpec()
			if spec != "" {
				if err := readSpec(spec, &o.Spec); err != nil {
					return err
				}
			}
			if spec == "" || c.Flags().Changed("prefix") {
				o.Spec.Prefix = a.prefix
			}
			a.prefix = o.Spec.Prefix
			if c.Flags().Changed("spokes") {
				o.Spec.More = more
			}
			if err := o.Spec.Check(); err != nil {
				return usageError{err}
			}
			for _, p := range []*string{&o.Config, &o.Hubd, &o.OpenVPN} {
				if strings.Contains(*p, "/") || (p == &o.Config && *p != "") {
					abs, err := filepath.Abs(*p)
					if err != nil {
						return fmt.Errorf("find %s: %w", *p, err)
					}
					*p = abs
				}
			}
			return a.startServer(c.Context(), o, c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.IntVar(&more, "spokes", 0, "how many more accounts, each with a peered VPC")
	f.BoolVar(&o.WithoutHubd, "without-hubd", false, "leave hubd out")
	f.StringVar(&o.Hubd, "hubd", "", "path of hubd (default: beside this program)")
	f.StringVar(&o.Config, "config", "", "hubd's config instead of the lab's own")
	f.StringVar(&o.OpenVPN, "openvpn", "", "path of openvpn (default: the one on PATH)")
	f.StringVar(&spec, "spec", "", "a JSON file with what differs from the default lab")
	f.BoolVar(&o.Throttle, "throttle", false, "AWS's token buckets from the start")
	return c
}

// readSpec lets a file replace fields of the default lab; unknown ones are errors.
func readSpec(path string, s *lab.Spec) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the spec: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return usageError{fmt.Errorf("spec %s: %w", path, err)}
	}
	return nil
}

// startServer starts the background process and waits until its lab is up.
func (a *app) startServer(ctx context.Context, o order, talk io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root: it makes network namespaces")
	}
	if _, err := a.dial(); err == nil {
		return fmt.Errorf("%w with prefix %s; hublab down removes it", lab.ErrUp, a.prefix)
	}
	if err := os.MkdirAll(a.dir(), 0o755); err != nil {
		return fmt.Errorf("make the run directory: %w", err)
	}
	// Opened here, and read here after a failed start has removed the directory.
	log, err := os.OpenFile(lab.ServeLog(a.dir()), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("open the lab's log: %w", err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	input, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode the order: %w", err)
	}
	cmd := exec.Command(self, "serve", "--prefix", a.prefix)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the background process: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, upPatience)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case err := <-ended:
			text, readErr := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", log.Fd()))
			return errors.Join(fmt.Errorf("the lab did not come up (%w):\n%s", orEnded(err), bytes.TrimSpace(text)), readErr)
		case <-ctx.Done():
			// A lab half built is of no use to anybody.
			return errors.Join(fmt.Errorf("wait for the lab: %w", ctx.Err()), lab.Down(a.dir()))
		case <-tick.C:
		}
		if client, err := a.dial(); err == nil {
			info, err := client.Info(ctx)
			if err != nil {
				return err
			}
			say(talk, "the lab is up: %d hosts, run directory %s", len(info.Hosts), info.Dir)
			return nil
		}
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("it ended")
	}
	return err
}
