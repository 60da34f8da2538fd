package masq

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"peerhub/hub"
)

// Text is the want as nft text: what `nft list table inet hubd` shows, without counters'
// values, and what `nft -f` makes of a host without hubd. It has no owner: the table would
// go with the nft that loads it.
func Text(want hub.Desired) string {
	var b strings.Builder
	bySet := make(map[string][]element)
	for _, it := range wanted(want) {
		bySet[it.set] = append(bySet[it.set], it.element)
	}
	s := shape{maxFlows: want.Base.MaxFlows, fullyRandom: true}
	fmt.Fprintf(&b, "table inet %s {\n\tcomment %q\n", DefaultTable, s.note())
	for _, c := range dropCounters {
		fmt.Fprintf(&b, "\n\tcounter %s {\n\t}\n", c)
	}
	for _, d := range sets {
		writeSet(&b, d, bySet[d.name])
	}
	for _, c := range chains(s) {
		writeChain(&b, c)
	}
	b.WriteString("}\n")
	return b.String()
}

func writeSet(b *strings.Builder, d setDef, es []element) {
	what, typ := "set", d.key.name
	if d.data.bytes > 0 {
		what, typ = "map", typ+" : "+d.data.name
	}
	fmt.Fprintf(b, "\n\t%s %s {\n\t\ttype %s\n", what, d.name, typ)
	if d.interval {
		b.WriteString("\t\tflags interval\n")
	}
	if d.dynamic {
		fmt.Fprintf(b, "\t\tsize %d\n\t\tflags dynamic\n", dynamicSize)
	}
	if d.counted {
		b.WriteString("\t\tcounter\n")
	}
	fmt.Fprintf(b, "\t\tcomment %q\n", d.note)
	if len(es) > 0 {
		slices.SortFunc(es, func(x, y element) int { return cmp.Compare(x.key, y.key) })
		b.WriteString("\t\telements = {")
		for i, e := range es {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString("\n\t\t\t" + e.text(d))
		}
		b.WriteString("\n\t\t}\n")
	}
	b.WriteString("\t}\n")
}

// text is the element as nft reads it: interface names in quotes, the comment before the
// colon of a map.
func (e element) text(d setDef) string {
	s := e.key
	if d.key == kindIfname || d.key == kindService {
		name, rest, _ := strings.Cut(s, " ")
		s = strings.TrimSuffix(`"`+name+`" `+rest, " ")
	}
	if e.comment != "" {
		s += fmt.Sprintf(" comment %q", e.comment)
	}
	if d.data.bytes > 0 {
		s += " : " + e.data
	}
	return s
}

func writeChain(b *strings.Builder, c chain) {
	fmt.Fprintf(b, "\n\tchain %s {\n", c.name)
	if c.text != "" {
		fmt.Fprintf(b, "\t\t%s; policy accept;\n", c.text)
	}
	for _, r := range c.rules {
		b.WriteString("\t\t" + r.text)
		if r.note != "" {
			fmt.Fprintf(b, " comment %q", r.note)
		}
		b.WriteString("\n")
	}
	b.WriteString("\t}\n")
}
