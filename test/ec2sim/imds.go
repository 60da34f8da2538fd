package ec2sim

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	// roleSession is how long the credentials of an instance's role live, and
	// roleFresh how long before their end IMDS hands out new ones.
	roleSession = 6 * time.Hour
	roleFresh   = time.Hour
)

// IMDSHandler serves IMDSv2: a token by PUT, 401 without one. instanceOf tells
// which instance asks; "" or an unknown id is answered with 404.
func (s *Sim) IMDSHandler(instanceOf func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		wait, down := s.faultDuration(FaultIMDSSlow), s.fault(FaultIMDSDown) != ""
		s.mu.Unlock()
		if down || !pause(r.Context(), wait) {
			panic(http.ErrAbortHandler) // net/http's own way to close a connection without an answer
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		now := s.catchUp()
		in, ok := s.st.instances[instanceOf(r)]
		if !ok || in.state == instanceTerminated {
			http.Error(w, "no such instance", http.StatusNotFound)
			return
		}
		if r.Method == http.MethodPut {
			s.imdsToken(w, r, in, now)
			return
		}
		ends, ok := s.iam.imdsTokens[in.id+" "+r.Header.Get(tokenHeader)]
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "", http.StatusMethodNotAllowed)
		case !ok || !now.Before(ends):
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		default:
			text, found := s.metadata(in, strings.TrimPrefix(r.URL.Path, "/latest/"), now)
			if !found {
				http.Error(w, "Not Found", http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Server", "EC2ws")
			_, _ = w.Write([]byte(text))
		}
	})
}

func (s *Sim) imdsToken(w http.ResponseWriter, r *http.Request, in instance, now time.Time) {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.URL.Path != "/latest/api/token":
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	case r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "Forbidden", http.StatusForbidden) // AWS refuses proxies
		return
	case err != nil || ttl < 1 || ttl > 21600:
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	s.iam.seq++
	token := derive(56, "imds", in.id, s.iam.seq)
	for k, ends := range s.iam.imdsTokens {
		if !now.Before(ends) {
			delete(s.iam.imdsTokens, k)
		}
	}
	s.iam.imdsTokens[in.id+" "+token] = now.Add(time.Duration(ttl) * time.Second)
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	_, _ = w.Write([]byte(token))
}

// metadata answers a path below /latest/. A folder lists its entries, those that
// are folders themselves with a slash.
func (s *Sim) metadata(in instance, path string, now time.Time) (string, bool) {
	items := s.metadataItems(in, now)
	if text, ok := items[path]; ok {
		return text, true
	}
	folder := strings.TrimSuffix(path, "/") + "/"
	var names []string
	for key := range items {
		if rest, ok := strings.CutPrefix(key, folder); ok {
			name, _, deeper := strings.Cut(rest, "/")
			if deeper {
				name += "/"
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n"), len(names) > 0
}

// metadataItems is all metadata of an instance by path.
func (s *Sim) metadataItems(in instance, now time.Time) map[string]string {
	e, _ := s.st.primary(in.id)
	domain := "amazonaws.com"
	if arnPartition(in.region) == "aws-cn" {
		domain += ".cn"
	}
	items := map[string]string{
		"meta-data/instance-id":                 in.id,
		"meta-data/instance-type":               in.kind,
		"meta-data/ami-id":                      in.image,
		"meta-data/mac":                         e.mac,
		"meta-data/placement/region":            in.region,
		"meta-data/placement/availability-zone": in.zone,
		"meta-data/services/partition":          arnPartition(in.region),
		"meta-data/services/domain":             domain,
		"dynamic/instance-identity/document":    identityDocument(in, e),
	}
	if len(e.addrs) > 0 {
		items["meta-data/local-ipv4"] = e.addrs[0].addr.String()
		items["meta-data/local-hostname"] = dnsName(e.addrs[0].addr, in.region)
		items["meta-data/hostname"] = dnsName(e.addrs[0].addr, in.region)
		if p := s.st.publicOf(e, e.addrs[0]); p.IsValid() {
			items["meta-data/public-ipv4"] = p.String()
		}
	}
	for _, e := range sorted(s.st.interfaces, func(e eni) bool { return e.instance == in.id }) {
		s.interfaceItems(items, e)
	}
	if r, ok := s.iam.roles[roleARN(in.account, in.role)]; ok {
		items["meta-data/iam/security-credentials/"+r.Name] = s.roleCredentials(in, r, now)
		items["meta-data/iam/info"] = toJSON(map[string]string{
			"Code": "Success", "LastUpdated": imdsTime(now),
			"InstanceProfileArn": "arn:aws:iam::" + in.account + ":instance-profile/" + in.role,
			"InstanceProfileId":  "AIPA" + derive(16, in.account, in.role),
		})
	}
	return items
}

func (s *Sim) interfaceItems(items map[string]string, e eni) {
	v, sn := s.st.vpcs[e.vpc], s.st.subnets[e.subnet]
	var v4, v6 []netip.Prefix
	for _, p := range v.prefixes() {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	var private, public []string
	for _, a := range e.addrs {
		private = append(private, a.addr.String())
		if p := s.st.publicOf(e, a); p.IsValid() {
			public = append(public, p.String())
		}
	}
	base := "meta-data/network/interfaces/macs/" + e.mac + "/"
	for name, text := range map[string]string{
		"vpc-id": e.vpc, "subnet-id": e.subnet, "interface-id": e.id, "owner-id": e.account, "mac": e.mac,
		"device-number": strconv.Itoa(e.index), "subnet-ipv4-cidr-block": sn.prefix.String(),
		"vpc-ipv4-cidr-block":  v.cidrs[0].prefix.String(),
		"vpc-ipv4-cidr-blocks": strings.Join(texts(v4), "\n"),
		"vpc-ipv6-cidr-blocks": strings.Join(texts(v6), "\n"),
		"security-group-ids":   strings.Join(e.groups, "\n"),
		"local-ipv4s":          strings.Join(private, "\n"),
		"public-ipv4s":         strings.Join(public, "\n"),
		"ipv6s":                strings.Join(texts(e.v6), "\n"),
		"local-hostname":       dnsName(e.addrs[0].addr, e.region),
	} {
		if text != "" { // an absent item is 404, never empty
			items[base+name] = text
		}
	}
}

// roleCredentials are an instance's temporary credentials, renewed well before
// their end.
func (s *Sim) roleCredentials(in instance, r role, now time.Time) string {
	key, ok := s.iam.instanceKeys[in.id+" "+r.arn]
	p := s.iam.keys[key]
	expired := s.fault(FaultIMDSExpired) != ""
	if !ok || p.expires.Sub(now) < roleFresh && !expired {
		ends := now.Add(roleSession)
		if expired {
			ends = now.Add(-time.Minute)
		}
		key, p = s.iam.session(r, in.id, ends)
		s.iam.instanceKeys[in.id+" "+r.arn] = key
	}
	ends := p.expires.Add(s.faultDuration(FaultClockSkew)) // as AWS's clock says it
	return toJSON(map[string]string{
		"Code": "Success", "LastUpdated": imdsTime(ends.Add(-roleSession)), "Type": "AWS-HMAC",
		"AccessKeyId": key, "SecretAccessKey": p.secret, "Token": p.token, "Expiration": imdsTime(ends),
	})
}

func imdsTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func identityDocument(in instance, e eni) string {
	doc := map[string]string{
		"accountId": in.account, "region": in.region, "instanceId": in.id, "availabilityZone": in.zone,
		"imageId": in.image, "instanceType": in.kind, "architecture": "arm64", "version": "2017-09-30",
		"pendingTime": imdsTime(in.launched),
	}
	if len(e.addrs) > 0 {
		doc["privateIp"] = e.addrs[0].addr.String()
	}
	return toJSON(doc)
}

func toJSON(v map[string]string) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "{}" // strings always marshal
	}
	return string(b)
}
