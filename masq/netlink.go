package masq

import (
	"bytes"
	"cmp"
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
	tableDormant      = 0x1 // NFT_TABLE_F_DORMANT
	tableOwner        = 0x2 // NFT_TABLE_F_OWNER, Linux 5.12
	tablePersist      = 0x4 // NFT_TABLE_F_PERSIST, Linux 6.9
	attrTableHandle   = 4   // NFTA_TABLE_HANDLE
	attrTableUserdata = 6   // NFTA_TABLE_USERDATA
	attrTableOwner    = 7   // NFTA_TABLE_OWNER
	attrSetExpr       = 17  // NFTA_SET_EXPR
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

	room int // bytes that one send may have
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
	return &socket{nl: nl, raw: raw, buf: make([]byte, 64<<10), room: bufferBytes}, nil
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
	// The first request has sequence number 1, the begin message 0.
	size := 0
	for _, r := range reqs {
		size += messageHeader + 8 + len(r.data)
	}
	b := appendMessage(make([]byte, 0, size+4*messageHeader), unix.NFNL_MSG_BATCH_BEGIN, netlink.Request, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	for i, r := range reqs {
		flags := netlink.Request | r.flags
		if i == len(reqs)-1 {
			flags |= netlink.Acknowledge // one acknowledgement says that the batch was read to its end
		}
		b = appendMessage(b, nftType(r.kind), flags, uint32(i+1), unix.NFPROTO_INET, 0, r.data)
	}
	if commit {
		b = appendMessage(b, unix.NFNL_MSG_BATCH_END, netlink.Request, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	}
	if err := s.makeRoom(len(b)); err != nil {
		return nil, err
	}
	replies, err := s.exchange(b)
	if err != nil {
		return nil, fmt.Errorf("batch of %d nftables messages: %w", len(reqs), err)
	}
	var refused map[int]error
	acknowledged := false
	for _, r := range replies {
		errno, ok := r.errno()
		if !ok {
			continue
		}
		i := int(r.Header.Seq) - 1
		switch {
		case i < 0 || i >= len(reqs):
			if errno != 0 {
				return nil, fmt.Errorf("nftables batch: %w", errno)
			}
		case errno != 0:
			if refused == nil {
				refused = make(map[int]error)
			}
			refused[i] = errno
		case i == len(reqs)-1:
			acknowledged = true
		}
	}
	if len(refused) == 0 && !acknowledged {
		return nil, errNoAnswer
	}
	return refused, nil
}

// makeRoom lets the socket take a batch of n bytes in one send: cut in two it would not be all
// or nothing. Beyond its buffer the kernel answers EMSGSIZE.
func (s *socket) makeRoom(n int) error {
	const overhead = 4096 // of the kernel's own
	if n+overhead <= s.room {
		return nil
	}
	if err := s.nl.SetWriteBuffer(2 * n); err != nil {
		return fmt.Errorf("make room for a batch of %d bytes: %w", n, err)
	}
	s.room = 2 * n
	return nil
}

var errNoAnswer = errors.New("no answer from the kernel")

// messageHeader is the length of struct nlmsghdr.
const messageHeader = 16

// appendMessage appends a netlink message with its family header.
func appendMessage(b []byte, typ netlink.HeaderType, flags netlink.HeaderFlags, seq uint32, family uint8, resource uint16, data []byte) []byte {
	n := messageHeader + 4 + len(data)
	b = binary.NativeEndian.AppendUint32(b, uint32(n))
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = binary.NativeEndian.AppendUint16(b, uint16(flags))
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel knows the port
	b = append(append(b, header(family, resource)...), data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// reply is one netlink message from the kernel.
type reply syscall.NetlinkMessage

// errno reads an NLMSG_ERROR or the end of a dump: 0 is an acknowledgement, or success. ok
// is false for other messages.
func (r reply) errno() (errno syscall.Errno, ok bool) {
	if (r.Header.Type != unix.NLMSG_ERROR && r.Header.Type != unix.NLMSG_DONE) || len(r.Data) < 4 {
		return 0, false
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(r.Data))), true
}

// exchange sends b and reads what the kernel has to say to it. The kernel works inside the
// send, and on a dump inside each receive: every answer is there when it is asked for, and
// nothing here ever waits.
func (s *socket) exchange(b []byte) ([]reply, error) {
	// What a refused batch may have left behind would be read as the answer to this one.
	if _, err := s.drain(); err != nil {
		return nil, err
	}
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		err = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	if err = cmp.Or(cerr, err); err != nil {
		return nil, fmt.Errorf("send to netfilter netlink: %w", err)
	}
	return s.drain()
}

// drain reads everything that waits on the socket.
func (s *socket) drain() ([]reply, error) {
	var out []reply
	for {
		var n int
		var err error
		cerr := s.raw.Control(func(fd uintptr) {
			n, _, err = unix.Recvfrom(int(fd), s.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		})
		switch {
		case cerr == nil && errors.Is(err, unix.EAGAIN):
			return out, nil
		case cerr == nil && errors.Is(err, unix.EINTR):
			continue
		case cerr != nil || err != nil:
			return nil, fmt.Errorf("receive from netfilter netlink: %w", cmp.Or(cerr, err))
		case n > len(s.buf):
			return nil, fmt.Errorf("receive from netfilter netlink: a message of %d bytes", n)
		}
		msgs, err := syscall.ParseNetlinkMessage(bytes.Clone(s.buf[:n]))
		if err != nil {
			return nil, fmt.Errorf("receive from netfilter netlink: %w", err)
		}
		for _, m := range msgs {
			out = append(out, reply(m))
		}
	}
}

// ask sends one request outside of a batch and returns the answers' payloads, family
// header cut off. flags may ask for a dump, which is repeated when it was interrupted.
func (s *socket) ask(typ netlink.HeaderType, family uint8, flags netlink.HeaderFlags, data []byte) ([][]byte, error) {
	const tries = 5
	b := appendMessage(nil, typ, netlink.Request|flags, 1, family, 0, data)
	for range tries {
		replies, err := s.exchange(b)
		if err != nil {
			return nil, err
		}
		out := make([][]byte, 0, len(replies))
		answered, interrupted := false, false
		for _, r := range replies {
			interrupted = interrupted || r.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			errno, last := r.errno()
			switch {
			case errno != 0:
				return nil, errno
			case last:
				answered = true
			case len(r.Data) >= 4:
				answered = answered || r.Header.Flags&unix.NLM_F_MULTI == 0
				out = append(out, r.Data[4:])
			}
		}
		switch {
		case !answered:
			return nil, errNoAnswer
		case !interrupted:
			return out, nil
		}
	}
	return nil, fmt.Errorf("list was interrupted by changes %d times", tries)
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
