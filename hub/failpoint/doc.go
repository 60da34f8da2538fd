// Package failpoint lets the fault suite stop a program at a named point, and switch one
// of its defences off to see what it is good for.
//
// In a program that users get both functions are empty and the compiler removes their
// calls. Only a program built with the tag failpoints reads the two variables:
//
//	HUBD_FAILPOINT=POINT[:N][:kill|hang]   at the N-th arrival at POINT end as by SIGKILL, or hang
//	HUBD_OFF=DEFENCE,...                   go without these defences
package failpoint

// Points lists the names that Hit is called with, in the order of a pass. A test of the
// tree holds it against the calls.
var Points = []string{
	"start.opened", "start.recover", "survey.read", "topology.saved", "accept.ask", "accept.done", "pass.begin", "state.half", "state.saved",
	"kroute.batch", "kroute.sent", "masq.batch", "masq.committed", "masq.claimed", "masq.flows",
	"ledger.intend", "ledger.intended", "route.created", "ledger.confirm", "ledger.confirmed", "route.deleted", "ledger.forgotten",
	"tags.create", "tags.created", "tags.deleted", "vpnconf.temp", "vpnconf.renamed", "history.added", "last.temp", "last.renamed",
	"notes.temp", "notes.renamed", "repair.begin", "control.sync", "control.paused", "control.resumed", "control.reloaded",
	"cleanup.plane", "cleanup.cleared",
}

// Defences lists the names that Off is called with.
var Defences = []string{"whole-pages", "guard", "ledger-intent", "owner-flag", "persist-flag", "fully-random", "flow-count", "foreign-chains", "owner-with-persist", "dump-retry", "overrun",
	"route-backoff", "contest", "foreign-routes", "state-check", "save-check", "source-backoff", "one-hub", "old-config", "client-limits", "recover",
	"recent-writes", "only-active", "canonical-prefixes"}
