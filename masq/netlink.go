package masq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Constants of linux/netfilter/nf_tables.h that x/sys/unix does not have.
const (
	policyAccept      = 1   // NF_ACCEPT
	tableOwner        = 0x2 // NFT_TABLE_F_OWNER, Linux 5.12
	tablePersist      = 0x4 // NFT_TABLE_F_PERSIST, Linux 6.9
	attrTableUserdata = 6   // NFTA_TABLE_USERDATA
	attrTableOwner    = 7   // NFTA_TABLE_OWNER
	attrSetExpr       = 17  // NFTA_SET_EXPR
	dumpInterrupted   = netlink.HeaderFlags(unix.NLM_F_DUMP_INTR)
)

// bufferBytes is asked for in both directions: a batch is one send, and 10,000 elements
// are 1.5 MB; a refused batch answers with one message for each refused one.
const bufferBytes = 4 << 20

// nftType is the message type of an nf_tables message.
func nftType(kind uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind)
}

// request is one message of a batch.
type request struct {
	kind  uint16 // NFT_MSG_*
	flags netlink.HeaderFlags
	data  []byte // attributes
}

// socket is the one lasting netlink socket of a plane. An owned table belongs to its port.
type socket struct {
	nl  *netlink.Conn
	raw syscall.RawConn
	buf []byte
}

// dial opens a netfilter socket in a network namespace (0: the caller's).
func dial(netns int) (*socket, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open a netfilter netlink socket: %w", err)
	}
	raw, err := nl.SyscallConn()
	if err == nil {
		// Errors come back without the message they are about.
		err = nl.SetOption(netlink.CapAcknowledge, true)
	}
	if err == nil {
		err = errors.Join(nl.SetWriteBuffer(bufferBytes), nl.SetReadBuffer(bufferBytes))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up the netfilter netlink socket: %w", err), nl.Close())
	}
	return &socket{nl: nl, raw: raw, buf: make([]byte, 64<<10)}, nil
}

func (s *socket) port() uint32 { return s.nl.PID() }
func (s *socket) close() error { return s.nl.Close() }

// batch sends reqs as one transaction. With refused empty and no error it is committed.
// refused says which requests the kernel did not take; err is a refusal of the whole. In
// both cases nothing has changed.
func (s *socket) batch(reqs []request) (refused map[int]error, err error) {
	return s.send(reqs, true)
}

// check is batch without a commit, as `nft -c` does: a batch without its end message is
// validated and taken back.
func (s *socket) check(reqs []request) (refused map[int]error, err error) {
	return s.send(reqs, false)
}

func (s *socket) send(reqs []request, commit bool) (map[int]error, error) {
	if len(reqs) == 0 {
		return nil, nil
	}
	msgs := make([]netlink.Message, 0, len(reqs)+2)
	mark := func(kind uint16) {
		msgs = append(msgs, netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request},
			Data:   header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		})
	}
	mark(unix.NFNL_MSG_BATCH_BEGIN)
	for i, r := range reqs {
		flags := netlink.Request | r.flags
		if i == len(reqs)-1 {
			flags |= netlink.Acknowledge // one acknowledgement says that the batch was read to its end
		}
		msgs = append(msgs, netlink.Message{
			Header: netlink.Header{Type: nftType(r.kind), Flags: flags},
			Data:   append(header(unix.NFPROTO_INET, 0), r.data...),
		})
	}
	if commit {
		mark(unix.NFNL_MSG_BATCH_END)
	}
	// What a refused batch may have left behind would be read as the answer to this one.
	if _, err := s.drain(); err != nil {
		return nil, err
	}
	sent, err := s.nl.SendMessages(msgs)
	if err != nil {
		return nil, fmt.Errorf("send a batch of %d nftables messages: %w", len(reqs), err)
	}
	// The kernel works inside the send: every answer is waiting now.
	answers, err := s.drain()
	if err != nil {
		return nil, err
	}
	first := sent[1].Header.Sequence
	var refused map[int]error
	acknowledged := false
	for _, a := range answers {
		i := int(a.seq - first)
		switch {
		case i < 0 || i >= len(reqs):
			if a.errno != 0 {
				return nil, fmt.Errorf("nftables batch: %w", a.errno)
			}
		case a.errno != 0:
			if refused == nil {
				refused = make(map[int]error)
			}
			refused[i] = a.errno
		case i == len(reqs)-1:
			acknowledged = true
		}
	}
	if len(refused) == 0 && !acknowledged {
		return nil, errors.New("nftables batch: no answer from the kernel")
	}
	return refused, nil
}

// answer is one NLMSG_ERROR: an error, or an acknowledgement with errno 0.
type answer struct {
	seq   uint32
	errno syscall.Errno
}

// drain reads everything that waits on the socket, without waiting for more.
func (s *socket) drain() ([]answer, error) {
	var out []answer
	for {
		var n int
		var err error
		cerr := s.raw.Control(func(fd uintptr) {
			n, _, err = unix.Recvfrom(int(fd), s.buf, unix.MSG_DONTWAIT)
		})
		switch {
		case cerr != nil:
			return nil, fmt.Errorf("read from the netfilter netlink socket: %w", cerr)
		case errors.Is(err, unix.EAGAIN):
			return out, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("read from the netfilter netlink socket: %w", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(s.buf[:n])
		if err != nil {
			return nil, fmt.Errorf("read from the netfilter netlink socket: %w", err)
		}
		for _, m := range msgs {
			if m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
				code := int32(binary.NativeEndian.Uint32(m.Data))
				out = append(out, answer{seq: m.Header.Seq, errno: syscall.Errno(-code)})
			}
		}
	}
}

// ask sends one request outside of a batch and returns the answers' payloads, family
// header cut off. flags may ask for a dump.
func (s *socket) ask(typ netlink.HeaderType, family uint8, flags netlink.HeaderFlags, data []byte) ([][]byte, error) {
	const tries = 5
	for try := 1; ; try++ {
		if _, err := s.drain(); err != nil {
			return nil, err
		}
		msgs, err := s.nl.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | flags},
			Data:   append(header(family, 0), data...),
		})
		if err != nil {
			return nil, err
		}
		out := make([][]byte, 0, len(msgs))
		interrupted := false
		for _, m := range msgs {
			interrupted = interrupted || m.Header.Flags&dumpInterrupted != 0
			if len(m.Data) >= 4 && m.Header.Type != netlink.Error {
				out = append(out, m.Data[4:])
			}
		}
		if !interrupted {
			return out, nil
		}
		if try == tries {
			return nil, fmt.Errorf("list was interrupted by changes %d times", tries)
		}
	}
}

// dump lists objects of one kind in the inet family.
func (s *socket) dump(kind uint16, data []byte) ([][]byte, error) {
	return s.ask(nftType(kind), unix.NFPROTO_INET, netlink.Dump, data)
}

// generation is the number of the ruleset's present state; every commit adds one.
func (s *socket) generation() (uint32, error) {
	replies, err := s.ask(nftType(unix.NFT_MSG_GETGEN), unix.AF_UNSPEC, 0, nil)
	if err != nil {
		return 0, err
	}
	for _, r := range replies {
		if id := fields(r)[unix.NFTA_GEN_ID]; len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, errors.New("the kernel gave no ruleset generation")
}
