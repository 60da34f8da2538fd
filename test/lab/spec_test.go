package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckTellsWhatIsWrong(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		name   string
		change func(*Spec)
		want   []string // in the error; none: the spec is right
	}{
		{"the default lab", func(*Spec) {}, nil},
		{"more spokes, as many as AWS allows", func(s *Spec) { s.More = maxMore }, nil},
		{"one spoke too many", func(s *Spec) { s.More = maxMore + 1 }, []string{"more is 121"}},
		{"prefix without a dash", func(s *Spec) { s.Prefix = "lab" }, []string{`prefix "lab"`}},
		{"everything at once", func(s *Spec) { s.Region, s.Tunnel, s.HubVPC = "", "a tunnel", p("10.100.0.1/16") },
			[]string{"region", `"a tunnel"`, "hub_vpc 10.100.0.1/16"}},
		{"a VPC without room for two subnets", func(s *Spec) { s.Services[0].VPC = p("10.110.0.0/24") }, []string{"vpc of svc1"}},
		{"two services of one account", func(s *Spec) { s.Services[1].Account = s.Services[0].Account }, []string{`account "222222222222" of svc2`}},
		{"a service called like another host", func(s *Spec) { s.Services[1].Host = HostHub }, []string{`host "hub"`}},
		{"an unknown peering", func(s *Spec) { s.Services[0].Peering = "maybe" }, []string{`peering "maybe"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := DefaultSpec()
			c.change(&s)
			err := s.Check()
			if (err == nil) != (len(c.want) == 0) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
		})
	}
}

func TestHostsOfTheDefaultLab(t *testing.T) {
	var got []string
	for _, h := range DefaultSpec().Hosts() {
		got = append(got, strings.Join([]string{h.Name, string(h.Kind), h.Account, h.Namespace, h.Addresses[0].String()}, " "))
	}
	want := []string{
		"office office  lab-office 172.168.0.10",
		"office-gw site  lab-office-gw 172.168.0.1",
		"laptop1 laptop  lab-laptop1 203.0.113.11",
		"laptop2 laptop  lab-laptop2 203.0.113.12",
		"hub hub 111111111111 lab-hub 10.100.0.10",
		"infra service 111111111111 lab-infra 10.100.1.10",
		"svc1 service 222222222222 lab-svc1 10.110.0.10",
		"svc1-closed service 222222222222 lab-svc1-closed 10.110.1.10",
		"svc2 service 333333333333 lab-svc2 10.120.0.10",
		"svc3 service 444444444444 lab-svc3 10.112.0.10",
		"svc4 service 555555555555 lab-svc4 10.200.0.10",
		"stranger service 999999999999 lab-stranger 10.66.0.10",
		"aws cloud  lab-aws 198.51.100.10",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMoreSpokesHaveAccountsAndPrefixesOfTheirOwn(t *testing.T) {
	s := DefaultSpec()
	s.More = 3
	var got []string
	for _, v := range s.services()[len(s.Services):] {
		got = append(got, v.Host+" "+v.Account+" "+v.VPC.String())
	}
	want := []string{"spoke1 600000000001 10.101.0.0/20", "spoke2 600000000002 10.101.16.0/20", "spoke3 600000000003 10.101.32.0/20"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestIDsAreStableAndOfTheSpec(t *testing.T) {
	s := DefaultSpec()
	if got, want := s.ID("vpc", "svc1"), "vpc-0ec6214b19408247e"; got != want {
		t.Errorf("id %s, want %s as in the documents", got, want)
	}
	other := s
	other.Salt = "other"
	if s.ID("vpc", "svc1") == other.ID("vpc", "svc1") {
		t.Error("another salt gives the same ids")
	}
}

func TestFaultValue(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"", "on"}, {"off", "off"}, {"2s", "2s"}, {"CreateRoute DeleteRoute", "CreateRoute,DeleteRoute"},
		{"action=CreateRoute account=222222222222", "CreateRoute@222222222222"}, {"delay=300ms", "300ms"},
	} {
		if got := FaultValue(strings.Fields(c.typed)); got != c.want {
			t.Errorf("%q: %q, want %q", c.typed, got, c.want)
		}
	}
}
