package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"peerhub/test/fabric"
)

// Runner types lines of the recipe into a lab that is up, from inside or outside
// its process.
type Runner struct {
	Spec        Spec
	Dir         string                                    // the lab's run directory
	Credentials func(account string) (Credentials, error) // whose keys `aws` uses
	AWS         string                                    // path of the aws program; "": the one on PATH
}

// Credentials are the keys of an account's administrator.
type Credentials struct {
	Account   string `json:"account"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	Region    string `json:"region"`
	Endpoint  string `json:"endpoint"` // reachable from inside the lab
}

// Environ are the variables that AWS clients read. Files of the machine's own user
// are switched off.
func (c Credentials) Environ() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + c.AccessKey, "AWS_SECRET_ACCESS_KEY=" + c.SecretKey,
		"AWS_DEFAULT_REGION=" + c.Region, "AWS_REGION=" + c.Region,
		"AWS_ENDPOINT_URL=" + c.Endpoint, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// reconnectPatience is how long all clients may take to be back.
const reconnectPatience = 40 * time.Second

// Do types a line and, when it makes clients connect anew, waits until all have.
func (r Runner) Do(ctx context.Context, l Line) error {
	before := r.connects()
	if err := r.shell(ctx, l.Where, l.Shell); err != nil {
		return fmt.Errorf("recipe line %d: %w", l.N, err)
	}
	if !l.reconnects {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reconnectPatience)
	defer cancel()
	return await(ctx, "every client has connected again", func() bool {
		for unit, n := range r.connects() {
			if n <= before[unit] {
				return false
			}
		}
		return true
	})
}

// Redo types a line again that was undone, and what it needs to take effect.
func (r Runner) Redo(ctx context.Context, recipe []Line, l Line) error {
	if err := r.Do(ctx, l); err != nil {
		return err
	}
	if l.pushes {
		return r.reconnect(ctx, recipe)
	}
	return nil
}

// Undo brings the lab to where it would be without this line.
func (r Runner) Undo(ctx context.Context, recipe []Line, l Line) error {
	if l.reconnects {
		return r.forget(ctx, recipe)
	}
	if err := r.shell(ctx, l.Where, l.Undo); err != nil {
		return fmt.Errorf("undo recipe line %d: %w", l.N, err)
	}
	if l.pushes {
		return r.reconnect(ctx, recipe)
	}
	return nil
}

// forget makes clients connected as before the push lines, with the lines there.
func (r Runner) forget(ctx context.Context, recipe []Line) error {
	for _, p := range recipe {
		if p.pushes {
			if err := r.shell(ctx, p.Where, p.Undo); err != nil {
				return err
			}
		}
	}
	if err := r.reconnect(ctx, recipe); err != nil {
		return err
	}
	for _, p := range recipe {
		if p.pushes {
			if err := r.Do(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r Runner) reconnect(ctx context.Context, recipe []Line) error {
	for _, l := range recipe {
		if l.reconnects {
			return r.Do(ctx, l)
		}
	}
	return nil
}

// connects counts how often each client has connected, by the clients' own logs.
func (r Runner) connects() map[string]int {
	out := map[string]int{}
	for _, unit := range []string{UnitLaptop1, UnitLaptop2, UnitOffice} {
		b, err := os.ReadFile(filepath.Join(r.Dir, unit+".log"))
		if err == nil {
			out[unit] = strings.Count(string(b), "Initialization Sequence Completed")
		}
	}
	return out
}

// shell types a line into a host, or where the cloud is with an account's keys.
func (r Runner) shell(ctx context.Context, where, line string) error {
	if h, ok := r.Spec.Host(where); ok {
		_, err := fabric.Exec(ctx, h.Namespace, "sh", "-c", line)
		return err
	}
	c, err := r.Credentials(where)
	if err != nil {
		return err
	}
	cmd := r.awsCommand(ctx, c, "sh", "-c", `aws() { command "$LAB_AWS" --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }; `+line)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("as account %s: %s: %w: %s", where, line, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// awsCommand prepares a program in the cloud's namespace with an account's keys.
func (r Runner) awsCommand(ctx context.Context, c Credentials, argv ...string) *exec.Cmd {
	aws := r.AWS
	if aws == "" {
		aws = "aws"
	}
	cmd := fabric.Command(ctx, r.Spec.Prefix+HostAWS, argv...)
	cmd.Env = Environ(append(c.Environ(), "LAB_AWS="+aws)...)
	return cmd
}

// Runner types into this lab.
func (l *Lab) Runner() Runner {
	return Runner{Spec: l.Spec, Dir: l.Dir, Credentials: l.Credentials}
}

// Credentials are the administrator's keys of an account of the lab.
func (l *Lab) Credentials(account string) (Credentials, error) {
	region := ""
	if account == l.Spec.HubAccount {
		region = l.Spec.Region
	}
	for _, v := range l.Spec.services() {
		if v.Account == account {
			region = v.region(l.Spec)
		}
	}
	if region == "" {
		return Credentials{}, fmt.Errorf("no account %q in this lab", account)
	}
	key, secret := l.Sim.AddAccount(account, "")
	return Credentials{Account: account, AccessKey: key, SecretKey: secret, Region: region, Endpoint: "http://" + l.Spec.API.String()}, nil
}
