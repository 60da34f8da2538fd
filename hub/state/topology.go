package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// SaveTopology makes the last good topology durable. One that says the same as the last,
// however much later, is not written again: an idle hub leaves its disk alone.
func (s *State) SaveTopology(ctx context.Context, t hub.Topology) error {
	timeless := t
	timeless.Sources = slices.Clone(t.Sources)
	for i := range timeless.Sources {
		timeless.Sources[i].At, timeless.Sources[i].Survey = time.Time{}, 0
	}
	body, err := json.Marshal(timeless)
	if err != nil {
		return fmt.Errorf("writing the topology: %w", err)
	}
	s.topology.Lock()
	defer s.topology.Unlock()
	sum := sha256.Sum256(body)
	if sum == s.topology.sum {
		return nil
	}
	if err := s.inTx(ctx, func(tx *sql.Tx) error { return put(ctx, tx, nameTopology, t) }); err != nil {
		return err
	}
	failpoint.Hit("topology.saved")
	s.topology.sum = sum
	return nil
}

// LoadTopology returns the last good topology and whether there is one. Nothing in it is
// fresh: its sources have to answer again.
func (s *State) LoadTopology(ctx context.Context) (hub.Topology, bool, error) {
	var t hub.Topology
	ok, err := s.get(ctx, nameTopology, &t)
	for i := range t.Sources {
		t.Sources[i].Fresh = false
	}
	return t, ok, err
}
