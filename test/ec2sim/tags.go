package ec2sim

import (
	"slices"
	"strings"
)

const tagSpecParams = " TagSpecification.n.ResourceType TagSpecification.n.Tag.n.Key TagSpecification.n.Tag.n.Value"

// tagLimit is AWS's: tags per resource.
const tagLimit = 50

// tagSpec reads the tags that a new object is to have.
func (c *call) tagSpec(resource string) ([]tag, error) {
	var out []tag
	for _, spec := range c.p.items("TagSpecification") {
		if kind := c.p.get(spec + ".ResourceType"); kind != resource {
			return nil, refuse("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", kind)
		}
		tags, err := c.readTags(spec + ".Tag")
		if err != nil {
			return nil, err
		}
		out = append(out, tags...)
	}
	return out, nil
}

func (c *call) readTags(list string) ([]tag, error) {
	var out []tag
	for _, item := range c.p.items(list) {
		t := tag{c.p.get(item + ".Key"), c.p.get(item + ".Value")}
		switch {
		case t.key == "" || len(t.key) > 128 || len(t.value) > 256:
			return nil, refuse("InvalidParameterValue", "Tag key and value must be 1 to 128 and 0 to 256 characters: %q", t.key)
		case strings.HasPrefix(strings.ToLower(t.key), "aws:"):
			return nil, refuse("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case slices.ContainsFunc(out, func(o tag) bool { return o.key == t.key }):
			return nil, refuse("InvalidParameterValue", "Duplicate tag key '%s' specified.", t.key)
		}
		out = append(out, t)
	}
	return out, nil
}

func (c *call) addTags(id string, tags []tag) {
	if len(tags) > 0 {
		c.st.setTags(c.home, id, tags)
	}
}

// taggable tells the type of a resource that the caller sees, "" if there is none.
// A peering is seen from both sides, and each has its own tags.
func (c *call) taggable(id string) string {
	at := func(ok bool, h home, kind string) string {
		if ok && h == c.home {
			return kind
		}
		return ""
	}
	switch idPrefix(id) {
	case "pcx":
		p, ok := c.st.peerings[id]
		return at(ok && p.seenBy(c.home, c.now, c.s.delays), c.home, "vpc-peering-connection")
	case "vpc":
		v, ok := c.st.vpcs[id]
		return at(ok, v.home, "vpc")
	case "subnet":
		v, ok := c.st.subnets[id]
		return at(ok, v.home, "subnet")
	case "rtb":
		v, ok := c.st.tables[id]
		return at(ok, v.home, "route-table")
	case "igw":
		v, ok := c.st.gateways[id]
		return at(ok, v.home, "internet-gateway")
	case "i":
		v, ok := c.st.instances[id]
		return at(ok, v.home, "instance")
	case "eni":
		v, ok := c.st.interfaces[id]
		return at(ok, v.home, "network-interface")
	case "sg":
		v, ok := c.st.groups[id]
		return at(ok, v.home, "security-group")
	case "acl":
		v, ok := c.st.acls[id]
		return at(ok, v.home, "network-acl")
	case "eipalloc":
		v, ok := c.st.addresses[id]
		return at(ok, v.home, "elastic-ip")
	}
	return ""
}

func (c *call) tagResources() ([]string, error) {
	ids := c.p.list("ResourceId")
	for _, id := range ids {
		if c.taggable(id) == "" {
			if idPrefix(id) == "" || notFoundCode[idPrefix(id)] == "" {
				return nil, refuse("InvalidID", "The ID '%s' is not valid", id)
			}
			return nil, notFound(id, idPrefix(id))
		}
	}
	return ids, nil
}

func (c *call) createTags() ([]node, error) {
	ids, err := c.tagResources()
	if err != nil {
		return nil, err
	}
	tags, err := c.readTags("Tag")
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		c.st.setTags(c.home, id, tags)
		if len(c.st.tags[tagKey{c.home, id}]) > tagLimit {
			return nil, refuse("TagLimitExceeded", "More than %d tags specified", tagLimit)
		}
	}
	return done(), nil
}

// deleteTags removes tags by key, or by key and value, or all.
func (c *call) deleteTags() ([]node, error) {
	ids, err := c.tagResources()
	if err != nil {
		return nil, err
	}
	items := c.p.items("Tag")
	for _, id := range ids {
		k := tagKey{c.home, id}
		c.st.tags[k] = without(c.st.tags[k], func(t tag) bool {
			return len(items) == 0 || slices.ContainsFunc(items, func(i string) bool {
				return c.p.get(i+".Key") == t.key && (!c.p.has(i+".Value") || c.p.get(i+".Value") == t.value)
			})
		})
	}
	return done(), nil
}

// resourceTag is a tag with what it hangs on, as DescribeTags lists it.
type resourceTag struct {
	tag
	id, kind string
}

func (c *call) describeTags() ([]node, error) {
	var all []resourceTag
	for k, tags := range c.st.tags {
		kind := c.taggable(k.resource)
		if k.home != c.home || kind == "" {
			continue
		}
		for _, t := range tags {
			all = append(all, resourceTag{t, k.resource, kind})
		}
	}
	return describe(c, listing[resourceTag]{
		element: "tagSet", max: 1000,
		id: func(t resourceTag) string { return t.id + "\x00" + t.key },
		item: func(t resourceTag) node {
			return el("", txt("resourceId", t.id), txt("resourceType", t.kind), txt("key", t.key), txt("value", t.value))
		},
		filters: map[string]func(resourceTag) []string{
			"key":           one(func(t resourceTag) string { return t.key }),
			"value":         one(func(t resourceTag) string { return t.value }),
			"resource-id":   one(func(t resourceTag) string { return t.id }),
			"resource-type": one(func(t resourceTag) string { return t.kind }),
		},
	}, all)
}
