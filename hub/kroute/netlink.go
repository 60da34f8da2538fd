package kroute

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"peerhub/hub/failpoint"
)

const (
	// dumpTries bounds how often an interrupted dump is read again. Under steady churn a
	// dump of a few milliseconds gets through within two or three.
	dumpTries = 10
	// batchBytes is how much goes into one sendmsg: far below the socket's send buffer
	// (212,992 bytes by default), and the answers of a batch that is refused as a whole
	// still fit the receive buffer.
	batchBytes = 64 << 10
	// rcvBuffer is the socket's receive buffer; the kernel doubles it.
	rcvBuffer = 4 << 20
	// patience bounds how long an answer of the kernel may take.
	patience = 10 * time.Second
)

// conn is one rtnetlink socket for dumps and batches, and the library's handle for links
// and addresses, all in one namespace. It is not safe for concurrent use.
type conn struct {
	shared *nl.SocketHandle
	handle *netlink.Handle
	pid    uint32 // the kernel stamps it on the events our writes cause
}

// dial opens the sockets in namespace ns.
func dial(ns netns.NsHandle) (*conn, error) {
	sock, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open an rtnetlink socket: %w", err)
	}
	c := &conn{shared: &nl.SocketHandle{Socket: sock}}
	tv := unix.NsecToTimeval(patience.Nanoseconds())
	if err := errors.Join(sock.SetSendTimeout(&tv), sock.SetReceiveTimeout(&tv), sock.SetExtAck(true)); err != nil {
		sock.Close()
		return nil, fmt.Errorf("set up the rtnetlink socket: %w", err)
	}
	// Without CAP_NET_ADMIN over the machine the force is refused; the default does then.
	if sock.SetReceiveBufferSize(rcvBuffer, true) != nil {
		_ = sock.SetReceiveBufferSize(rcvBuffer, false)
	}
	if c.pid, err = sock.GetPid(); err != nil {
		sock.Close()
		return nil, fmt.Errorf("ask for the rtnetlink socket's port: %w", err)
	}
	if c.handle, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		sock.Close()
		return nil, fmt.Errorf("open a netlink handle: %w", err)
	}
	return c, nil
}

func (c *conn) close() {
	c.handle.Close()
	c.shared.Socket.Close()
}

// retried reads until no dump was interrupted by a change, at most dumpTries times. An
// interrupted dump may lack entries, so it is never used.
func retried[T any](read func() (T, error)) (T, error) {
	var none T
	var err error
	for range dumpTries {
		var got T
		got, err = read()
		interrupted := errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, unix.EINTR)
		if err == nil || interrupted && failpoint.Off("dump-retry") {
			return got, nil
		}
		if !interrupted {
			break
		}
	}
	return none, err
}

// errRestless is a dump that was different each time.
var errRestless = fmt.Errorf("each of %d times something else was read", dumpTries)

// agreed reads until two times in a row gave the same. The kernel marks interrupted dumps of
// links and addresses, but not of rules (fib_nl_dumprule of 6.18 goes on by counting): where
// they come in several parts, a change in between makes a rule appear twice or not at all.
func agreed[T any](read func() (T, error), same func(a, b T) bool) (T, error) {
	last, err := read()
	if failpoint.Off("dump-retry") {
		return last, err
	}
	for range dumpTries {
		if err != nil {
			return last, err
		}
		var next T
		if next, err = read(); err == nil && same(last, next) {
			return next, nil
		}
		last = next
	}
	return last, errors.Join(err, errRestless)
}

// dump reads all messages of one kind: get is RTM_GETROUTE or RTM_GETRULE.
func (c *conn) dump(get int, family uint8) ([][]byte, error) {
	return retried(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(get, unix.NLM_F_DUMP)
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: c.shared}
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
		return req.Execute(unix.NETLINK_ROUTE, 0)
	})
}

// message is one write: a netlink type, flags beside NLM_F_REQUEST, and the body.
type message struct {
	typ   uint16
	flags uint16
	body  []byte
}

// send makes the writes, many to a sendmsg, and returns one error per message. The
// kernel goes on after a refused message. When the answers cannot be read every
// message of that batch has the error: what became of it is not known.
func (c *conn) send(ctx context.Context, msgs []message) []error {
	errs := make([]error, len(msgs))
	for start := 0; start < len(msgs); {
		end, size := start, 0
		for end < len(msgs) && (end == start || size+len(msgs[end].body)+unix.NLMSG_HDRLEN <= batchBytes) {
			size += len(msgs[end].body) + unix.NLMSG_HDRLEN
			end++
		}
		err := ctx.Err()
		if err == nil {
			failpoint.Hit("kroute.batch")
			err = c.batch(msgs[start:end], errs[start:end])
			failpoint.Hit("kroute.sent")
		}
		if err != nil {
			for i := start; i < end; i++ {
				errs[i] = err
			}
		}
		start = end
	}
	return errs
}

// batch sends one buffer of messages. Only the last one asks for an acknowledgement;
// of the others the kernel reports the refused ones.
func (c *conn) batch(msgs []message, errs []error) error {
	last := atomic.AddUint32(&c.shared.Seq, uint32(len(msgs)))
	first := last - uint32(len(msgs)) + 1
	size := 0
	for i := range msgs {
		size += unix.NLMSG_HDRLEN + len(msgs[i].body)
	}
	buf := make([]byte, 0, size)
	for i, m := range msgs {
		flags := m.flags | unix.NLM_F_REQUEST
		if i == len(msgs)-1 {
			flags |= unix.NLM_F_ACK
		}
		buf = binary.NativeEndian.AppendUint32(buf, uint32(unix.NLMSG_HDRLEN+len(m.body)))
		buf = binary.NativeEndian.AppendUint16(buf, m.typ)
		buf = binary.NativeEndian.AppendUint16(buf, flags)
		buf = binary.NativeEndian.AppendUint32(buf, first+uint32(i))
		buf = binary.NativeEndian.AppendUint32(buf, c.pid)
		buf = append(buf, m.body...)
	}
	if err := unix.Sendto(c.shared.Socket.GetFd(), buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send %d messages to the kernel: %w", len(msgs), err)
	}
	for {
		answers, _, err := c.shared.Socket.Receive()
		if err != nil {
			return fmt.Errorf("read the kernel's answers: %w", err)
		}
		for _, a := range answers {
			i := a.Header.Seq - first
			if a.Header.Type != unix.NLMSG_ERROR || i >= uint32(len(msgs)) {
				continue
			}
			errs[i] = answer(a)
			if a.Header.Seq == last {
				return nil
			}
		}
	}
}

// answer reads an acknowledgement: nil, or the errno with the kernel's own words.
func answer(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return errors.New("short acknowledgement")
	}
	errno := -int32(binary.NativeEndian.Uint32(m.Data))
	if errno == 0 {
		return nil
	}
	err := error(unix.Errno(errno))
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 || len(m.Data) < 4+unix.NLMSG_HDRLEN {
		return err
	}
	// The request comes back first, then the attributes.
	skip := 4 + align(int(binary.NativeEndian.Uint32(m.Data[4:])))
	if skip < 0 || skip > len(m.Data) {
		return err
	}
	for t, v := range attributes(m.Data[skip:]) {
		if t == nl.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%w (%s)", err, unix.ByteSliceToString(v))
		}
	}
	return err
}

// attributes yields the attributes of a message; a malformed rest ends it.
func attributes(b []byte) func(func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min(align(size), len(b)):]
		}
	}
}

// align rounds up to the four bytes of netlink.
func align(n int) int { return (n + 3) &^ 3 }

// appendAttr appends one attribute.
func appendAttr(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendAttr32(b []byte, typ uint16, value uint32) []byte {
	b = binary.NativeEndian.AppendUint16(b, unix.SizeofRtAttr+4)
	b = binary.NativeEndian.AppendUint16(b, typ)
	return binary.NativeEndian.AppendUint32(b, value)
}

// appendAddr appends an attribute that is an address.
func appendAddr(b []byte, typ uint16, a netip.Addr) []byte {
	if a.Is4() {
		four := a.As4()
		return appendAttr(b, typ, four[:])
	}
	sixteen := a.As16()
	return appendAttr(b, typ, sixteen[:])
}

func family(a netip.Addr) uint8 {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}
