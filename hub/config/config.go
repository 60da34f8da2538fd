package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"peerhub/hub"
)

// DefaultPath is where the config is unless a flag says otherwise.
const DefaultPath = "/etc/hubd/hubd.yaml"

// DefaultState is the state directory unless the config says otherwise.
const DefaultState = "/var/lib/hubd"

// maxSize bounds a config file, in bytes.
const maxSize = 4 << 20

// Config is the config with its defaults, as types.
type Config struct {
	Path    string // of hubd.yaml, as given
	Policy  hub.Policy
	Hub     Hub
	AWS     AWS
	Poll    time.Duration
	Control Control
	Metrics Metrics
	Log     Log
	State   string // directory

	origins map[string]Origin
}

// Hub states what instance metadata would say; whatever is zero is asked there.
type Hub struct {
	Name       string
	Region     hub.Region
	VPC        hub.VPCID
	Instance   hub.InstanceID
	Interfaces []Interface
}

// Interface joins a kernel interface with an EC2 one; without any the MAC addresses tell.
type Interface struct {
	Name string
	ENI  hub.InterfaceID // "" = joined by MAC address
}

// AWS is how we enter accounts.
type AWS struct {
	Role                  string // ARN with {account}; "" = only accounts with a role of their own are entered
	ExternalID            string
	Regions               []hub.Region // beside the hub's own
	Endpoint              string       // "" = AWS, or the SDK's AWS_ENDPOINT_URL
	AllowInsecureEndpoint bool         // plain http
}

// Control is the socket of hubctl.
type Control struct{ Socket, Group string }

// Metrics is the HTTP listener of /metrics, /healthz and /readyz; "" = off.
type Metrics struct{ Listen string }

// Log says what is logged and how.
type Log struct{ Level, Format string }

// Origin is where a value was set. A zero Line means: in no file, so the default holds.
type Origin struct {
	File         string
	Line, Column int
}

func (o Origin) String() string {
	if o.Line == 0 {
		return "default"
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Origin says where key, a path such as vpn[0].pools, was set.
func (c Config) Origin(key string) Origin { return c.origins[key] }

// AccountsDir is the folder of single accounts that belongs to a config file.
func AccountsDir(path string) string { return filepath.Join(filepath.Dir(path), "accounts.d") }

// Source is a file and its content.
type Source struct {
	Name string // as shown in errors
	Data []byte
}

// Load reads the file at path and accounts.d beside it. A mistake in them is an Errors.
func Load(path string) (Config, error) {
	data, err := readFile(path)
	if err != nil {
		return Config{}, err
	}
	accounts, err := readAccounts(AccountsDir(path))
	if err != nil {
		return Config{}, err
	}
	return Parse(Source{Name: path, Data: data}, accounts...)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("read config %s: %d bytes, more than %d", path, info.Size(), maxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return data, nil
}

func readAccounts(dir string) ([]Source, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	var out []Source
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".yaml") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := filepath.Join(dir, e.Name())
		data, err := readFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, Source{Name: name, Data: data})
	}
	return out, nil
}

// Parse reads a config from memory. Every mistake is in the error, an Errors.
func Parse(main Source, accounts ...Source) (Config, error) {
	c := defaults()
	c.Path = main.Name
	r := &reader{file: main.Name, origins: map[string]Origin{}, names: map[string]claim{}}
	if root, ok := r.root(main); ok {
		c.decode(root, filepath.Dir(main.Name))
	}
	for _, src := range accounts {
		r.file = src.Name
		if root, ok := r.root(src); ok {
			c.decodeAccountFile(root, strings.TrimSuffix(filepath.Base(src.Name), ".yaml"))
		}
	}
	r.checkRanges()
	c.origins = r.origins
	if len(r.errs) > 0 {
		r.errs.sort()
		return Config{}, r.errs
	}
	return c, nil
}

// root parses a file into its one mapping. ok is false when there is nothing to read.
func (r *reader) root(src Source) (v value, ok bool) {
	file, err := parse(src.Data)
	if err != nil {
		r.syntax(err)
		return value{}, false
	}
	top := value{r: r, at: &token.Token{Position: &token.Position{Line: 1, Column: 1}}}
	docs := slices.DeleteFunc(slices.Clone(file.Docs), func(d *ast.DocumentNode) bool { return d == nil || d.Body == nil })
	if len(docs) > 1 {
		value{r: r, at: docs[1].Body.GetToken()}.wrong("found a second document", "want one document; remove the line ---")
	}
	if len(docs) == 0 {
		top.wrong("the file is empty", "want at least version: 1")
		return value{}, false
	}
	top.node = docs[0].Body
	return top, true
}

// parse is the parser with its panics turned into errors: it reads what people typed.
func parse(data []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this is not YAML: %v", p)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// syntax records a parser's error with its place.
func (r *reader) syntax(err error) {
	e := Error{File: r.file, Line: 1, Column: 1, Found: err.Error(), Want: "want YAML"}
	var placed interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &placed) {
		e.Found = placed.GetMessage()
		if t := placed.GetToken(); t != nil && t.Position != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
		}
	}
	r.errs = append(r.errs, e)
}

// defaults is the config of an empty file.
func defaults() Config {
	return Config{
		Policy: hub.Policy{
			Mode:        hub.ModeSync,
			Accounts:    map[hub.AccountID]hub.Account{},
			HubTables:   hub.TableChoice{Kind: hub.TablesOwnSubnet},
			SpokeTables: hub.TableChoice{Kind: hub.TablesAll},
			ReturnRoute: hub.ReturnSubnet,
			Safety:      hub.Safety{RemovalsAfter: 3, MaxRemoved: 20},
			Masq:        hub.MasqPolicy{Ownership: hub.OwnershipAuto, MaxFlows: 8192},
		},
		Poll:    30 * time.Second,
		Control: Control{Socket: "/run/hubd/hubd.sock", Group: "hubadmin"},
		Metrics: Metrics{Listen: "127.0.0.1:9586"},
		Log:     Log{Level: "info", Format: "auto"},
		State:   DefaultState,
	}
}
