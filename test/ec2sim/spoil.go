package ec2sim

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// emptied takes every item out of an answer's lists: the answer is well formed, and
// says that there is nothing.
func emptied(nodes []node) []node {
	var out []node
	for _, n := range nodes {
		if n.name != "nextToken" {
			out = append(out, node{name: n.name})
		}
	}
	return out
}

// bombSize is what the gzip bomb unpacks to; packed it is about a thousandth of that.
const bombSize = 1 << 30

// bomb writes an answer that is packed small and unpacks to a document without end.
func (a answer) bomb(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(a.status)
	z := gzip.NewWriter(w)
	if len(a.body) > 0 {
		_, _ = z.Write(a.body[:len(a.body)-1]) // the client may have gone
	}
	blank := bytes.Repeat([]byte(" "), 1<<20)
	for n := 0; n < bombSize && r.Context().Err() == nil; n += len(blank) {
		if _, err := z.Write(blank); err != nil {
			return
		}
	}
	_ = z.Close()
}

// manyPrefixes is how many the malformation many-cidrs gives a side.
const manyPrefixes = 10_000

// malformed is what the fault malformed does to a side's description that has blocks: it
// lists KIND@PCX pairs.
//
//	bad-cidr      one more block, which is none
//	host-bits     one more block, with host bits
//	no-vpc-info   neither id nor owner nor blocks
//	ipv6-only     no IPv4 block
//	many-cidrs    10,000 more blocks
func (c *call) malformed(p peering, n node) node {
	for word := range strings.SplitSeq(c.s.fault(FaultMalformed), ",") {
		kind, id, _ := strings.Cut(word, "@")
		if id != p.id {
			continue
		}
		switch kind {
		case "bad-cidr":
			n = withBlocks(n, "10.300.0.0/16")
		case "host-bits":
			n = withBlocks(n, "10.119.3.7/16")
		case "no-vpc-info":
			return node{}
		case "ipv6-only":
			n = withoutBlocks(n)
			n.kids = append(n.kids, set("ipv6CidrBlockSet", []string{"2001:db8:7::/56"}, func(b string) node { return el("", txt("ipv6CidrBlock", b)) }))
		case "many-cidrs":
			var list []string
			for i := range manyPrefixes {
				list = append(list, fmt.Sprintf("10.%d.%d.%d/28", 128+(i>>12), i>>4&255, i<<4&255))
			}
			n = withBlocks(n, list...)
		}
	}
	return n
}

func withBlocks(n node, blocks ...string) node {
	kids := append([]node(nil), n.kids...)
	for i, k := range kids {
		if k.name == "cidrBlockSet" {
			more := set("", blocks, func(b string) node { return el("", txt("cidrBlock", b)) })
			kids[i].kids = append(append([]node(nil), k.kids...), more.kids...)
		}
	}
	n.kids = kids
	return n
}

func withoutBlocks(n node) node {
	var kids []node
	for _, k := range n.kids {
		if k.name != "cidrBlock" && k.name != "cidrBlockSet" && k.name != "ipv6CidrBlockSet" {
			kids = append(kids, k)
		}
	}
	n.kids = kids
	return n
}

// mayDiffer is how far a request's time may be from AWS's: beyond, the request has expired.
const mayDiffer = 5 * time.Minute

// skewed refuses a signature that is too old or too new by AWS's clock while the fault
// clock-skew moves that (ec2.md section 6). Without the fault a Sim does not know what time
// its callers have.
func (s *Sim) skewed(r *http.Request, service string) error {
	skew := s.faultDuration(FaultClockSkew)
	if skew == 0 {
		return nil
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	now := time.Now().Add(skew)
	if d := now.Sub(at); err == nil && d.Abs() <= mayDiffer {
		return nil
	}
	if service == "ec2" {
		return refuse("RequestExpired", "Request has expired.")
	}
	return refuseStatus(http.StatusForbidden, "SignatureDoesNotMatch", "Signature expired: %s is not within 5 min of %s",
		r.Header.Get("X-Amz-Date"), now.UTC().Format("20060102T150405Z"))
}
