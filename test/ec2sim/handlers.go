package ec2sim

import (
	"cmp"
	"net/http"
)

func compareStrings(a, b string) int { return cmp.Compare(a, b) }

// APIHandler serves EC2 and STS for all accounts and regions.
func (s *Sim) APIHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "not yet", http.StatusNotImplemented) })
}

// IMDSHandler serves IMDSv2; instanceOf tells which instance asks ("" is nobody: 404).
func (s *Sim) IMDSHandler(instanceOf func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "not yet", http.StatusNotImplemented) })
}
