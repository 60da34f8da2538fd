package ec2sim

import (
	"encoding/base64"
	"iter"
	"maps"
	"slices"
	"strings"
)

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// listing is a Describe action over one kind of object.
type listing[T any] struct {
	element string // name of the set in the answer
	idParam string // name of the id list, "" if the action has none
	kind    string // prefix of the ids
	max     int    // greatest MaxResults; 0: the action has no pages
	noPages bool   // MaxResults and ids exclude each other
	id      func(T) string
	filters map[string]func(T) []string
	item    func(T) node
}

// pageParams are the parameters of every listing with filters and pages.
const pageParams = " Filter.n.Name Filter.n.Value.n MaxResults:int NextToken"

// describe answers a listing: by id, then by filter, then one page.
func describe[T any](c *call, l listing[T], all []T) ([]node, error) {
	ids := c.p.list(l.idParam)
	if len(ids) > 0 {
		if l.noPages && c.p.has("MaxResults") {
			return nil, refuse("InvalidParameterCombination", "The parameter %sSet cannot be used with the parameter maxResults", kindName[l.kind])
		}
		for _, id := range ids {
			if !slices.ContainsFunc(all, func(v T) bool { return l.id(v) == id }) {
				return nil, notFound(id, l.kind)
			}
		}
		all = without(all, func(v T) bool { return !slices.Contains(ids, l.id(v)) })
	}
	all, err := filter(c, l, all)
	if err != nil {
		return nil, err
	}
	all, next, err := page(c, l, all)
	if err != nil {
		return nil, err
	}
	return []node{set(l.element, all, l.item), opt("nextToken", next)}, nil
}

// filter keeps what matches every filter; a filter matches if one of its values does.
func filter[T any](c *call, l listing[T], all []T) ([]T, error) {
	for _, f := range c.p.items("Filter") {
		name, values := c.p.get(f+".Name"), c.p.list(f+".Value")
		field, ok := l.filters[name]
		if key, isTag := strings.CutPrefix(name, "tag:"); isTag && l.kind != "" {
			field, ok = func(v T) []string { return c.tagValues(l.id(v), key) }, true
		}
		if name == "tag-key" && l.kind != "" {
			field, ok = func(v T) []string { return c.tagKeys(l.id(v)) }, true
		}
		if !ok {
			return nil, refuse("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		if len(values) == 0 {
			return nil, refuse("MissingParameter", "The request must contain the parameter %s.Value", f)
		}
		all = without(all, func(v T) bool {
			return !slices.ContainsFunc(field(v), func(have string) bool {
				return slices.ContainsFunc(values, func(want string) bool { return wild(want, have) })
			})
		})
	}
	return all, nil
}

// wild matches a filter value: * is any number of characters, ? is none or one,
// \ takes the next character as it is.
func wild(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	switch pattern[0] {
	case '*':
		return wild(pattern[1:], s) || s != "" && wild(pattern, s[1:])
	case '?':
		return wild(pattern[1:], s) || s != "" && wild(pattern[1:], s[1:])
	case '\\':
		if len(pattern) > 1 {
			pattern = pattern[1:]
		}
	}
	return s != "" && s[0] == pattern[0] && wild(pattern[1:], s[1:])
}

// page cuts one page. A token names the last id seen, so that pages stay right
// while objects come and go.
func page[T any](c *call, l listing[T], all []T) ([]T, string, error) {
	slices.SortStableFunc(all, func(a, b T) int { return strings.Compare(l.id(a), l.id(b)) })
	if l.max == 0 {
		return all, "", nil
	}
	size, low := c.p.num("MaxResults", len(all)), 5
	if c.p.has("MaxResults") && (size < low || size > l.max) {
		return nil, "", refuse("InvalidParameterValue",
			"Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and %d.", size, low, l.max)
	}
	token := c.p.get("NextToken")
	if c.p.has("NextToken") {
		after, err := openToken(token, c.action)
		if err != nil {
			return nil, "", err
		}
		if !c.s.faultHits(FaultRepeatToken, c.action) {
			all = without(all, func(v T) bool { return l.id(v) <= after })
		}
	}
	size = min(size, c.s.faultNumber(FaultPageSize, size))
	if len(all) <= size {
		return all, "", nil
	}
	all = all[:max(size, 1)]
	next := sealToken(l.id(all[len(all)-1]), c.action)
	if c.p.has("NextToken") && c.s.faultHits(FaultRepeatToken, c.action) {
		next = token
	}
	return all, next, nil
}

func sealToken(id, action string) string {
	return base64.StdEncoding.EncodeToString([]byte(action + "\x00" + id))
}

func openToken(token, action string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(token)
	of, id, ok := strings.Cut(string(raw), "\x00")
	if err != nil || !ok || of != action {
		return "", refuse("InvalidParameterValue", "Value ( %s ) for parameter NextToken is invalid. The token is invalid.", token)
	}
	return id, nil
}

// tagSet is a resource's tags as the caller sees them.
func (c *call) tagSet(id string) node {
	return set("tagSet", c.st.tags[tagKey{c.home, id}], func(t tag) node {
		return el("", txt("key", t.key), txt("value", t.value))
	})
}

func (c *call) tagValues(id, key string) []string {
	for _, t := range c.st.tags[tagKey{c.home, id}] {
		if t.key == key {
			return []string{t.value}
		}
	}
	return nil
}

func (c *call) tagKeys(id string) []string {
	var out []string
	for _, t := range c.st.tags[tagKey{c.home, id}] {
		out = append(out, t.key)
	}
	return out
}

// one is a filter on a single text.
func one[T any](f func(T) string) func(T) []string {
	return func(v T) []string { return []string{f(v)} }
}

// yes is a filter on a truth value.
func yes[T any](f func(T) bool) func(T) []string {
	return func(v T) []string {
		if f(v) {
			return []string{"true"}
		}
		return []string{"false"}
	}
}
