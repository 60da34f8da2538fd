package ec2sim

import (
	"bytes"
	"encoding/xml"
	"net/netip"
	"strconv"
	"time"
)

// node is an element of an answer: text or children. A node without a name is left
// out, which is how optional elements are written.
type node struct {
	name, text string
	kids       []node
}

func el(name string, kids ...node) node { return node{name: name, kids: kids} }
func txt(name, value string) node       { return node{name: name, text: value} }
func num(name string, value int) node   { return txt(name, strconv.Itoa(value)) }
func flag(name string, value bool) node { return txt(name, strconv.FormatBool(value)) }

// opt is a text element that is left out when it is empty.
func opt(name, value string) node {
	if value == "" {
		return node{}
	}
	return txt(name, value)
}

func addr(name string, a netip.Addr) node {
	if !a.IsValid() {
		return node{}
	}
	return txt(name, a.String())
}

// stamp is a time as EC2 writes it: with T and Z, a space is a decoding error in SDKs.
func stamp(name string, t time.Time) node {
	if t.IsZero() {
		return node{}
	}
	return txt(name, t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// set is a list; its elements are called item. An empty list is an empty element.
func set[T any](name string, list []T, item func(T) node) node {
	out := node{name: name}
	for _, v := range list {
		n := item(v)
		n.name = "item"
		out.kids = append(out.kids, n)
	}
	return out
}

// render writes a document.
func (n node) render() []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	n.write(&b)
	return b.Bytes()
}

func (n node) write(b *bytes.Buffer) {
	if n.name == "" {
		return
	}
	b.WriteString("<" + n.name)
	if n.kids == nil && n.text == "" {
		b.WriteString("/>")
		return
	}
	b.WriteString(">")
	_ = xml.EscapeText(b, []byte(n.text)) // a Buffer takes everything
	for _, k := range n.kids {
		k.write(b)
	}
	// A root carries its namespace in the name; the end tag has the name alone.
	b.WriteString("</" + n.tag() + ">")
}

func (n node) tag() string {
	for i, r := range n.name {
		if r == ' ' {
			return n.name[:i]
		}
	}
	return n.name
}
