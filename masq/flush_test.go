package masq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

// watch runs Watch until the test ends and counts its calls.
func (p *Plane) watchCalls(t *testing.T) *atomic.Int64 {
	t.Helper()
	// Before Watch runs, so that what is done from here on waits on the socket.
	if err := p.watch.nl.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Watch(ctx, func() { calls.Add(1) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
	return &calls
}

// A foreign flush in plain mode: watch says so, the repair puts everything back, and a
// connection that was there lives on, also when the far end speaks into the gap. The
// control is the same without the second table: there it dies.
func TestAFlushInPlainMode(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprintf("keep table %t", keep), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, hub.OwnershipPlain)
			syncTo(t, r.p, sample())
			server := r.beyond.start(t, "exec socat TCP4-LISTEN:9000 -")
			await(t, "the server is up", func() bool { return r.beyond.run(t, "ss -Hltn sport = :9000") != "" })
			conn := r.client.start(t, "exec socat - TCP4:"+billingHost+":9000")
			conn.send(t, "one")
			server.await(t, "one")
			calls := r.p.watchCalls(t)
			if !keep {
				if _, err := r.p.sock.batch([]request{delTable(keepName(r.p.table))}); err != nil {
					t.Fatal(err)
				}
			}
			r.hub.run(t, "nft flush ruleset")
			await(t, "watch hears the flush", func() bool { return calls.Load() > 0 })
			if out := r.hub.run(t, "nft list ruleset"); strings.Contains(out, "gate") || strings.Contains(out, "hubd_keep") != keep {
				t.Fatalf("after the flush:\n%s", out)
			}
			// The far end speaks into the gap; without NAT the hub's own stack answers with RST.
			server.send(t, "into the gap")
			if !keep {
				await(t, "the connection is reset", func() bool { return r.beyond.run(t, "ss -Htn sport = :9000") == "" })
				return
			}
			conn.await(t, "into the gap")
			syncTo(t, r.p, sample())
			conn.talk(t, "ping", "into the gap")
			server.await(t, "ping")
			server.send(t, "pong")
			conn.await(t, "pong")
			r.client.run(t, pingOnce+dataHost)
		})
	}
}

// In persist mode a foreign flush, deletion and addition do nothing, and after the
// daemon's death the table goes on; the next daemon claims it and changes nothing else.
func TestAFlushInPersistMode(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPersist)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	flow := r.client.udp(t, billingHost+":9000")
	flow.talk(t, "one", " one")
	r.hub.run(t, "nft flush ruleset")
	for _, foreign := range []string{"delete table inet hubd", "flush chain inet hubd gate", "add element inet hubd tunnels { eth9 }"} {
		if out, err := r.hub.try(t, "nft "+foreign); err == nil {
			t.Errorf("nft %s passed: %s", foreign, out)
		}
	}
	if _, changes := plan(t, r.p, sample()); len(changes) > 0 {
		t.Errorf("to do after the flush: %+v", changes)
	}
	flow.talk(t, "two", " two")
	if err := r.p.Close(); err != nil {
		t.Fatal(err)
	}
	flow.talk(t, "three", " three")
	r.p = open(t, r.hub, hub.OwnershipPersist)
	changes := syncTo(t, r.p, sample())
	if len(changes) != 1 || changes[0].Object != "table inet hubd" || changes[0].Verb != hub.VerbReplace {
		t.Errorf("changes of the next daemon: %+v", changes)
	}
	counters, err := r.p.Counters(ctx)
	if err != nil || counters[billing].Out.Packets < 3 {
		t.Errorf("counters after the claim: %+v, %v", counters, err)
	}
	r.hub.run(t, "nft flush ruleset")
	flow.talk(t, "four", " four")
}

// The mode can change while flows run; counters go on.
func TestTheModeChangesUnderTraffic(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.serve(t, 9000, beyondHosts...)
	want := sample()
	flow := (*udpFlow)(nil)
	for i, mode := range []hub.Ownership{hub.OwnershipPlain, hub.OwnershipPersist, hub.OwnershipPlain} {
		want.Base.Ownership = mode
		syncTo(t, r.p, want)
		if flow == nil {
			flow = r.client.udp(t, billingHost+":9000")
		}
		flow.talk(t, string(mode)+fmt.Sprint(i), " "+string(mode)+fmt.Sprint(i))
		if got := r.p.Mode().Ownership; got != mode {
			t.Errorf("mode in force is %s, want %s", got, mode)
		}
		out := r.hub.run(t, "nft list ruleset")
		if hasKeep := strings.Contains(out, "table inet hubd_keep"); hasKeep != (mode == hub.OwnershipPlain) {
			t.Errorf("%s: second table: %t", mode, hasKeep)
		}
	}
	counters, err := r.p.Counters(ctx)
	if err != nil || counters[billing].Out.Packets != 3 || counters[billing].Back.Packets != 3 {
		t.Errorf("counters: %+v, %v", counters, err)
	}
}

// Every kind of foreign change inside the table is seen by watch and mended.
func TestForeignChangesAreMended(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"a flushed chain":         "nft flush chain inet hubd gate",
		"a rule too many":         "nft insert rule inet hubd gate accept",
		"a rule too many at last": "nft add rule inet hubd to_hub accept",
		"a deleted chain":         "nft flush chain inet hubd classify; nft delete chain inet hubd classify",
		"a chain too many":        "nft 'add chain inet hubd theirs { type filter hook forward priority -5; policy drop; }'",
		"a set too many":          "nft 'add set inet hubd theirs { type ipv4_addr; }'",
		"a drop policy":           "nft 'chain inet hubd gate { policy drop; }'",
		"a dormant table":         "nft 'table inet hubd { flags dormant; }'",
		"an element too many":     "nft 'add element inet hubd origins4 { 192.168.0.0/24 }'",
		"a range":                 "nft 'add element inet hubd spokes4 { 10.9.0.3-10.9.0.9 : 0x01000007 }'",
		"an element gone":         "nft 'delete element inet hubd tunnels { tun0 }'",
		"all elements gone":       "nft flush set inet hubd out",
		"the table gone":          "nft delete table inet hubd",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNS(t, "hub")
			p := open(t, n, hub.OwnershipPlain)
			syncTo(t, p, sample())
			before := n.run(t, "nft list table inet hubd")
			calls := p.watchCalls(t)
			n.run(t, script)
			await(t, "watch hears it", func() bool { return calls.Load() > 0 })
			if changes := syncTo(t, p, sample()); len(changes) == 0 {
				t.Error("nothing was to do")
			}
			if after := n.run(t, "nft list table inet hubd"); after != before {
				t.Errorf("mended:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// Watch hears nothing of our own commits, nor of other tables; of ten thousand
// notifications that did not fit it hears once.
func TestWatchHearsOnlyOthers(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	// Long before Watch runs.
	if err := p.watch.nl.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		t.Fatal(err)
	}
	syncTo(t, p, many(2000))
	n.run(t, "nft add table inet hubdx; nft add table ip hubd; nft delete table ip hubd")
	n.run(t, "nft 'add element inet hubd tunnels { tun7, tun8, tun9 }'")
	syncTo(t, p, many(2001))
	n.run(t, "nft 'add element inet hubd tunnels { tun7 }'")
	calls := p.watchCalls(t)
	await(t, "both commits are heard", func() bool { return calls.Load() == 2 })
	syncTo(t, p, many(1000))
	n.run(t, "nft 'add element inet hubd tunnels { tun7 }'")
	await(t, "the third commit is heard", func() bool { return calls.Load() >= 3 })
	if got := calls.Load(); got != 3 {
		t.Errorf("%d calls for three commits", got)
	}
}

func TestWatchResyncsOnceAfterALoss(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	if err := errors.Join(p.watch.nl.SetReadBuffer(4096), p.watch.nl.JoinGroup(unix.NFNLGRP_NFTABLES)); err != nil {
		t.Fatal(err)
	}
	n.run(t, `{ echo 'table inet theirs { set s { type ipv4_addr; elements = {'
		for i in $(seq 250); do for j in $(seq 12); do echo 10.0.$j.$i,; done; done; echo '10.1.0.0 }; }; }'; } | nft -f -`)
	calls := p.watchCalls(t)
	await(t, "the loss is heard", func() bool { return calls.Load() > 0 })
	n.run(t, "nft add table inet hubd")
	await(t, "a commit after it is heard", func() bool { return calls.Load() == 2 })
}
