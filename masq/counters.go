package masq

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Counter counts packets and bytes of one direction, or of one reason to drop.
type Counter struct {
	Packets uint64
	Bytes   uint64
}

// Traffic is what one spoke's mark has seen since the table was made.
type Traffic struct {
	Out  Counter // toward the spoke
	Back Counter // from it
}

// Counters reads packets and bytes of every live spoke, by mark.
func (p *Plane) Counters(ctx context.Context) (map[uint32]Traffic, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the counters of table inet %s: %w", p.table, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	es, err := p.counted()
	if err != nil {
		return nil, err
	}
	out := make(map[uint32]Traffic)
	for _, e := range es {
		b, _, err := kindMark.encode(e.key)
		if err != nil {
			continue // not a mark: somebody else's, and gone with the next pass
		}
		m := nativeMark(b)
		t := out[m]
		if e.set == "out" {
			t.Out = Counter{e.packets, e.bytes}
		} else {
			t.Back = Counter{e.packets, e.bytes}
		}
		out[m] = t
	}
	return out, nil
}

// Drops reads the drop counters, by name: drop_other, drop_hub and so on.
func (p *Plane) Drops(ctx context.Context) (map[string]Counter, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the counters of table inet %s: %w", p.table, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drops()
}

// counted lists the elements that count, by object.
func (p *Plane) counted() (map[string]element, error) {
	out := make(map[string]element)
	for _, d := range sets {
		if !d.counted {
			continue
		}
		es, err := p.readSet(d)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range es {
			out[objectKey(e.set, e.key)] = e
		}
	}
	return out, nil
}

func (p *Plane) drops() (map[string]Counter, error) {
	decoded, _, err := p.ofTable(unix.NFT_MSG_GETOBJ, "counters")
	if err != nil {
		return nil, err
	}
	out := make(map[string]Counter)
	for _, f := range decoded {
		if num32(f[unix.NFTA_OBJ_TYPE]) != unix.NFT_OBJECT_COUNTER {
			continue
		}
		c := fields(f[unix.NFTA_OBJ_DATA])
		out[text(f[unix.NFTA_OBJ_NAME])] = Counter{num64(c[unix.NFTA_COUNTER_PACKETS]), num64(c[unix.NFTA_COUNTER_BYTES])}
	}
	return out, nil
}
