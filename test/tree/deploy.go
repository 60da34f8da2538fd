package tree

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// requests finds the AWS calls of a source file by the input that the SDK wants for each.
var requests = regexp.MustCompile(`\bec2\.([A-Z][A-Za-z]+)Input\b`)

// called lists the EC2 actions that the Go files, paths below root, can ask for, as a
// policy writes them: "ec2:DescribeVpcs".
func called(root string, files []string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		for _, m := range requests.FindAllSubmatch(b, -1) {
			out["ec2:"+string(m[1])] = true
		}
	}
	return out, nil
}

// policy is what the rules need of an IAM policy.
type policy struct {
	Version   string
	Statement []struct {
		Sid, Effect string
		Action      actions
		Resource    any
		Principal   any
		Condition   map[string]map[string]any
	}
}

// actions is one action or a list: IAM takes both.
type actions []string

func (a *actions) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = actions{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// readPolicy reads a policy; a key that IAM does not know is an error.
func readPolicy(path string) (policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return policy{}, fmt.Errorf("read the policy: %w", err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var p policy
	if err := d.Decode(&p); err != nil {
		return policy{}, fmt.Errorf("read the policy %s: %w", path, err)
	}
	return p, nil
}

// shipped picks the Go files that hubd and hubctl are made of.
func shipped(files []string) []string {
	var out []string
	for _, f := range files {
		folder, _, _ := strings.Cut(f, "/")
		ours := folder == "hub" || folder == "discovery" || strings.HasPrefix(f, "cmd/hubd/") || strings.HasPrefix(f, "cmd/hubctl/")
		if ours && strings.HasSuffix(f, ".go") && !strings.HasSuffix(f, "_test.go") {
			out = append(out, f)
		}
	}
	return out
}
