package daemon

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// page is a page of metrics in the text format 0.0.4 of Prometheus. It is written by hand:
// the client library brings protobuf, a seventh of the binary, for what is a few lines here.
// A test reads the page with that library's parser.
type page struct {
	order    []string // of families
	families map[string]*family
}

type family struct {
	kind, help string
	lines      []string
}

// label is one name and value; names are ours, values are escaped.
type label struct{ name, value string }

// add writes one sample. The family's help and kind are those of the first.
func (p *page) add(kind, name, help string, v float64, labels ...label) {
	f := p.family(kind, name, help)
	f.lines = append(f.lines, sample("hubd_"+name, v, labels))
}

func (p *page) family(kind, name, help string) *family {
	if p.families == nil {
		p.families = map[string]*family{}
	}
	f := p.families[name]
	if f == nil {
		f = &family{kind: kind, help: help}
		p.families[name] = f
		p.order = append(p.order, name)
	}
	return f
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func sample(name string, v float64, labels []label) string {
	var b strings.Builder
	b.WriteString(name)
	for i, l := range labels {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(l.name + `="` + escape.Replace(strings.ToValidUTF8(l.value, "?")) + `"`)
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	return b.String()
}

// write writes the page, samples of a family sorted.
func (p *page) write(w io.Writer) error {
	for _, name := range p.order {
		f := p.families[name]
		if f.kind != kindHistogram { // whose buckets have an order of their own
			slices.Sort(f.lines)
		}
		if _, err := fmt.Fprintf(w, "# HELP hubd_%s %s\n# TYPE hubd_%s %s\n%s\n", name, f.help, name, f.kind, strings.Join(f.lines, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// The kinds of a family.
const (
	kindGauge     = "gauge"
	kindCounter   = "counter"
	kindHistogram = "histogram"
)

// buckets are the upper bounds of pass times, in seconds.
var buckets = [...]float64{.001, .005, .01, .05, .1, .5, 1, 5, 30}

// histogram counts times by bucket.
type histogram struct {
	counts [len(buckets) + 1]uint64
	sum    float64
}

func (h *histogram) observe(v float64) {
	i := 0
	for i < len(buckets) && v > buckets[i] {
		i++
	}
	h.counts[i]++
	h.sum += v
}

func (h *histogram) addTo(p *page, name, help string) {
	f := p.family(kindHistogram, name, help)
	total := uint64(0)
	for i, n := range h.counts {
		total += n
		bound := "+Inf"
		if i < len(buckets) {
			bound = strconv.FormatFloat(buckets[i], 'g', -1, 64)
		}
		f.lines = append(f.lines, sample("hubd_"+name+"_bucket", float64(total), []label{{"le", bound}}))
	}
	f.lines = append(f.lines, sample("hubd_"+name+"_sum", h.sum, nil), sample("hubd_"+name+"_count", float64(total), nil))
}
