package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// dropped shows that a command fails and that the lab counted its packets at this place
// for this reason.
func (s *story) dropped(claim, place, reason string, argv []string) {
	before := s.drops(place, reason)
	out, code := s.exec(argv)
	risen := s.drops(place, reason) - before
	out += fmt.Sprintf("\n%s drops: place %s, reason %s: +%d", s.lab()[0], place, reason, risen)
	s.keep(claim, check{expect: fmt.Sprintf("fails, and %s rises at %s", reason, place)}, argv, out, code != 0 && risen > 0)
}

// drops is how many packets were dropped at a place for a reason.
func (s *story) drops(place, reason string) int {
	out, _ := s.exec(s.lab("drops", "-o", "json"))
	var list struct {
		Drops []struct {
			Name   string `json:"name"`
			Reason string `json:"reason"`
			Count  int    `json:"count"`
		} `json:"drops"`
	}
	if json.Unmarshal([]byte(out), &list) != nil {
		return 0
	}
	n := 0
	for _, d := range list.Drops {
		if d.Name == place && d.Reason == reason {
			n += d.Count
		}
	}
	return n
}

// guarded shows that a command fails and that a counter of the hub's own guard rose.
func (s *story) guarded(claim string, argv []string) {
	before := s.guard()
	out, code := s.exec(argv)
	var risen []string
	for rule, n := range s.guard() {
		if n > before[rule] {
			risen = append(risen, fmt.Sprintf("nft list counters table inet hubd: %s +%d", rule, n-before[rule]))
		}
	}
	out += "\n" + strings.Join(risen, "\n")
	s.keep(claim, check{expect: "fails, and a drop counter in table inet hubd rises"}, argv, out, code != 0 && len(risen) > 0)
}

var counted = regexp.MustCompile(`counter (drop_\w+) \{[^}]*packets (\d+)`)

// guard is what the named counters of our table's dropping rules have counted.
func (s *story) guard() map[string]int {
	out, _ := s.exec(s.in("hub", "nft", "list", "counters", "table", "inet", "hubd"))
	counts := map[string]int{}
	for _, m := range counted.FindAllStringSubmatch(out, -1) {
		if n, err := strconv.Atoi(m[2]); err == nil {
			counts[m[1]] = n
		}
	}
	return counts
}
