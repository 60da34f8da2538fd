package vpnconf

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What OpenVPN 2.6.14 wrote, one user and one office.
const (
	status3 = `TITLE	OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)] [LZO] [LZ4] [EPOLL] [PKCS11] [MH/PKTINFO] [AEAD] [DCO]
TIME	2026-11-21 01:22:29	1795224149
HEADER	CLIENT_LIST	Common Name	Real Address	Virtual Address	Virtual IPv6 Address	Bytes Received	Bytes Sent	Connected Since	Connected Since (time_t)	Username	Client ID	Peer ID	Data Channel Cipher
CLIENT_LIST	anna	192.0.2.2:51409	172.27.240.2		1616	5424	2026-11-21 01:22:25	1795224145	UNDEF	0	0	AES-256-GCM
CLIENT_LIST	office-tokyo	udp4:192.0.2.3:1194	172.27.240.3		7	8	2026-11-21 01:22:26	1795224146	UNDEF	1	1	AES-256-GCM
HEADER	ROUTING_TABLE	Virtual Address	Common Name	Real Address	Last Ref	Last Ref (time_t)
ROUTING_TABLE	172.27.240.2	anna	192.0.2.2:51409	2026-11-21 01:22:25	1795224145
ROUTING_TABLE	172.168.1.0/24	office-tokyo	udp4:192.0.2.3:1194	2026-11-21 01:22:26	1795224146
ROUTING_TABLE	172.168.0.0/24	office-tokyo	udp4:192.0.2.3:1194	2026-11-21 01:22:26	1795224146
ROUTING_TABLE	172.168.0.9C	office-tokyo	udp4:192.0.2.3:1194	2026-11-21 01:22:26	1795224146
ROUTING_TABLE	172.27.240.3	office-tokyo	udp4:192.0.2.3:1194	2026-11-21 01:22:26	1795224146
GLOBAL_STATS	Max bcast/mcast queue length	1
GLOBAL_STATS	dco_enabled	0
END
`
	status1 = `OpenVPN CLIENT LIST
Updated,2026-11-21 01:22:29
Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since
anna,192.0.2.2:51409,1616,5424,2026-11-21 01:22:25
office-tokyo,192.0.2.3:1194,7,8,Sat Nov 21 01:22:26 2026
ROUTING TABLE
Virtual Address,Common Name,Real Address,Last Ref
172.27.240.2,anna,192.0.2.2:51409,2026-11-21 01:22:25
172.168.1.0/24,office-tokyo,192.0.2.3:1194,2026-11-21 01:22:26
172.168.0.0/24,office-tokyo,192.0.2.3:1194,2026-11-21 01:22:26
172.168.0.9C,office-tokyo,192.0.2.3:1194,2026-11-21 01:22:26
172.27.240.3,office-tokyo,192.0.2.3:1194,2026-11-21 01:22:26
GLOBAL STATS
Max bcast/mcast queue length,1
END
`
)

var sameAddr = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestAllVersionsOfTheStatusReadTheSame(t *testing.T) {
	want := []Client{
		{Name: "anna", Real: "192.0.2.2:51409", Address: netip.MustParseAddr("172.27.240.2"),
			Since: time.Unix(1795224145, 0), BytesIn: 1616, BytesOut: 5424},
		{Name: "office-tokyo", Real: "192.0.2.3:1194", Address: netip.MustParseAddr("172.27.240.3"),
			Since: time.Unix(1795224146, 0), BytesIn: 7, BytesOut: 8,
			Networks: []netip.Prefix{netip.MustParsePrefix("172.168.0.0/24"), netip.MustParsePrefix("172.168.1.0/24")}},
	}
	turned := strings.NewReplacer(
		"Common Name\tReal Address\tVirtual Address\tVirtual IPv6", "Real Address\tCommon Name\tVirtual Address\tVirtual IPv6",
		"anna\t192.0.2.2:51409\t172.27.240.2\t", "192.0.2.2:51409\tanna\t172.27.240.2\t",
		"office-tokyo\tudp4:192.0.2.3:1194\t172.27.240.3\t", "192.0.2.3:1194\toffice-tokyo\t172.27.240.3\t").Replace(status3)
	for name, text := range map[string]string{
		"version 3":                 status3,
		"version 2":                 strings.ReplaceAll(status3, "\t", ","),
		"version 1":                 status1,
		"columns in another order":  turned,
		"CRLF, as on the socket":    strings.ReplaceAll(status3, "\n", "\r\n"),
		"messages in between":       strings.ReplaceAll(status3, "\n", "\n>CLIENT:ENV,common_name=x\n>BYTECOUNT_CLI:0,1,2\n"),
		"somebody shaking hands":    strings.Replace(status3, "CLIENT_LIST\tanna", "CLIENT_LIST\tUNDEF\t192.0.2.9:1\t\t\t1\t2\t2026-11-21 01:22:25\t1795224145\tUNDEF\t7\t7\t\nCLIENT_LIST\tanna", 1),
		"a column we do not expect": strings.NewReplacer("Data Channel Cipher", "Data Channel Cipher\tMood", "AES-256-GCM", "AES-256-GCM\tgood").Replace(status3),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseStatus([]byte(text), time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i].Since = got[i].Since.Local()
			}
			if diff := cmp.Diff(want, got, sameAddr); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAHostileNameIsNeverSomebodyElse(t *testing.T) {
	const forged = "1.2.3.4:5,172.27.240.99,,1,2,2026-11-21 01:22:25,1795224145,u"
	for _, c := range []struct {
		name, cn string
		comma    bool
		want     []string // names, nil for an error
	}{
		{"a comma in a tabbed status", "Doe, Jane", false, []string{"Doe, Jane", "office-tokyo"}},
		{"quotes", `a"b'c\`, false, []string{`a"b'c\`, "office-tokyo"}},
		{"a comma", "Doe, Jane", true, []string{"Doe, Jane", "office-tokyo"}},
		{"a name that begins like a message", ">CLIENT:x", false, []string{">CLIENT:x", "office-tokyo"}},
		{"a name that is END", "END", true, []string{"END", "office-tokyo"}},
		{"another client's record inside", "admin," + forged, true, []string{"office-tokyo"}},
		{"a tab and another record", "admin\t" + strings.ReplaceAll(forged, ",", "\t"), false, []string{"office-tokyo"}},
		{"a tab", "a\tb", false, []string{"a\tb", "office-tokyo"}},
		{"a line break and another record", "x\nCLIENT_LIST\tadmin\t" + strings.ReplaceAll(forged, ",", "\t") + "\t1\t1\tAES-256-GCM\nx", false, nil},
		{"a line break", "x\ny", false, nil},
		{"a line break and END", "x\nEND\ny", false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := status3
			cn := c.cn
			if c.comma {
				text = strings.ReplaceAll(text, "\t", ",")
			}
			text = strings.ReplaceAll(text, "anna", cn)
			clients, err := ParseStatus([]byte(text), time.UTC)
			var got []string
			for _, cl := range clients {
				got = append(got, cl.Name)
			}
			if (err != nil) != (c.want == nil) {
				t.Fatalf("error %v, clients %q", err, got)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPartOfAStatusIsNoStatus(t *testing.T) {
	for _, text := range []string{status3, status1} {
		for i := range len(text) - 1 {
			clients, err := ParseStatus([]byte(text[:i]), time.UTC)
			// Cut inside "END" itself the rest is an unknown line or looks whole.
			if err == nil && !strings.HasSuffix(text[:i], "END") {
				t.Fatalf("the first %d bytes became %v", i, clients)
			}
		}
	}
	if _, err := ParseStatus([]byte(status3[:strings.Index(status3, "GLOBAL")]), time.UTC); !errors.Is(err, errIncomplete) {
		t.Errorf("want that the status has no end, got %v", err)
	}
	for _, bad := range []string{"", "\n", "hello\nEND\n", "CLIENT_LIST\tx\nEND\n", "HEADER\tCLIENT_LIST\tCommon Name\nCLIENT_LIST\nEND\n",
		strings.Replace(status3, "1616", "many", 1), strings.Replace(status3, "172.27.240.2\t", "nowhere\t", 1)} {
		if got, err := ParseStatus([]byte(bad), time.UTC); err == nil {
			t.Errorf("%q became %v", bad, got)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{status3, strings.ReplaceAll(status3, "\t", ","), status1, "END\n", "HEADER\tCLIENT_LIST\tCommon Name\tUsername\nCLIENT_LIST\ta\tb\tc\tEND\nEND"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		clients, err := ParseStatus(text, time.UTC)
		if err != nil {
			return
		}
		lines := strings.Count(string(text), "\n") + 1
		if len(clients) > lines {
			t.Errorf("%d clients of %d lines", len(clients), lines)
		}
		for _, c := range clients {
			if strings.ContainsAny(c.Name, "\n") {
				t.Errorf("name %q", c.Name)
			}
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add(`config "/a b/c"`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, w := range words(line) {
			if strings.ContainsAny(w, "\n\r\v\f") {
				return // cannot be written on one line
			}
			if got := words(quoted(w)); len(got) != 1 || got[0] != w {
				t.Errorf("%q quoted is %s, read back %q", w, quoted(w), got)
			}
		}
	})
}
