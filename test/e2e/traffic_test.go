package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// pace is the time between two datagrams of a flow: 200 a second. Lines over TCP and
// echoes of ping are fewer: they show that something lives, datagrams show what was lost.
const (
	pace     = 5 * time.Millisecond
	tcpPace  = 25 * time.Millisecond
	pingPace = "0.02" // seconds
)

// flow is traffic from a host to a service that runs until it is ended.
type flow struct {
	name string
	conn net.Conn
	quit chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	sent  int
	seen  map[int]bool // numbers that came back
	ended error        // why it ended by itself
	woes  []string     // what the own kernel said of single datagrams
}

// dial opens a socket in a host to the echo service of another.
func (r *rig) dial(network, from, to string) *flow {
	r.t.Helper()
	r.preferVPN()
	f := &flow{name: fmt.Sprintf("%s %s to %s", network, from, to), quit: make(chan struct{}), seen: map[int]bool{}}
	err := fabric.InNS(r.ns(from), func() (err error) {
		f.conn, err = net.DialTimeout(network, net.JoinHostPort(r.addr(to), "7"), 20*time.Second)
		return err
	})
	r.must(err)
	if c, ok := f.conn.(*net.UDPConn); ok {
		r.must(fabric.Patient(c))
	}
	r.t.Cleanup(func() { f.close() })
	return f
}

// preferVPN has the machine run OpenVPN before anything else. An OpenVPN that has to wait
// for a tenth of a second loses datagrams, for the buffer of its socket is small: on a busy
// machine that would be told of hubd. (RcvbufErrors of Udp in /proc/net/snmp counts it.)
func (r *rig) preferVPN() {
	r.t.Helper()
	for _, p := range r.Processes() {
		if strings.HasPrefix(p.Name, "openvpn-") {
			r.must(syscall.Setpriority(syscall.PRIO_PROCESS, p.PID, -20))
		}
	}
}

// roomy gives a socket of ours a buffer that a burst after a pause does not overflow.
func roomy(conn syscall.RawConn) error {
	var err error
	if cerr := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 4<<20)
	}); cerr != nil {
		return cerr
	}
	return err
}

func (f *flow) close() {
	select {
	case <-f.quit:
	default:
		close(f.quit)
	}
	f.conn.Close()
	f.wg.Wait()
}

// udp sends numbered datagrams, 200 a second, and notes which numbers come back.
func (r *rig) udp(from, to string) *flow {
	r.t.Helper()
	f := r.dial("udp4", from, to)
	raw, err := f.conn.(*net.UDPConn).SyscallConn()
	r.must(err)
	r.must(roomy(raw))
	f.wg.Go(func() { f.every(pace, func() error { return f.send("%d") }) })
	f.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, err := f.conn.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // an ICMP error is not the end of UDP
				f.woe(err)
				continue
			}
			f.note(string(buf[:n]))
		}
	})
	f.warm(r)
	return f
}

// tcp sends numbered lines over one connection and notes which come back.
func (r *rig) tcp(from, to string) *flow {
	r.t.Helper()
	f := r.dial("tcp4", from, to)
	f.wg.Go(func() { f.every(tcpPace, func() error { return f.send("%d\n") }) })
	f.wg.Go(func() {
		for in := bufio.NewScanner(f.conn); ; {
			if !in.Scan() {
				f.fail(in.Err())
				return
			}
			f.note(in.Text())
		}
	})
	f.warm(r)
	return f
}

func (f *flow) every(pace time.Duration, do func() error) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-f.quit:
			return
		case <-tick.C:
			if err := do(); err != nil {
				f.fail(err)
				return
			}
		}
	}
}

// send sends the next number. A datagram that the own kernel refuses counts as sent.
func (f *flow) send(format string) error {
	f.mu.Lock()
	n := f.sent
	f.sent++
	f.mu.Unlock()
	_, err := fmt.Fprintf(f.conn, format, n)
	if err != nil && !f.isTCP() {
		f.woe(fmt.Errorf("number %d: %w", n, err))
		return nil
	}
	return err
}

func (f *flow) woe(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.woes = append(f.woes, err.Error())
}

func (f *flow) isTCP() bool { return strings.HasPrefix(f.name, "tcp") }

// note reads an answer: the service's name, a colon, the number.
func (f *flow) note(text string) {
	_, number, _ := strings.Cut(text, ": ")
	if n, err := strconv.Atoi(strings.TrimSpace(number)); err == nil {
		f.mu.Lock()
		f.seen[n] = true
		f.mu.Unlock()
	}
}

func (f *flow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.quit: // ended from outside
		return
	default:
	}
	if f.ended == nil {
		f.ended = fmt.Errorf("%s ended: %w", f.name, err)
		if err == nil {
			f.ended = fmt.Errorf("%s ended: the other side hung up", f.name)
		}
	}
}

// warm waits until the flow goes both ways.
func (f *flow) warm(r *rig) {
	r.t.Helper()
	f.more(r, 10)
}

// more waits until n more numbers have come back.
func (f *flow) more(r *rig, n int) {
	r.t.Helper()
	_, before, _ := f.state()
	eventually(r.t, fmt.Sprintf("%d more packets of %s are back", n, f.name), func() error {
		_, now, err := f.state()
		if err != nil {
			r.t.Fatal(err)
		}
		if now < before+n {
			return fmt.Errorf("%d came back", now-before)
		}
		return nil
	})
}

// state tells how many were sent, how many came back, and why it ended, if it did.
func (f *flow) state() (sent, back int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent, len(f.seen), f.ended
}

// lost lists the numbers below n that have not come back.
func (f *flow) lost(n int) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []int
	for i := range n {
		if !f.seen[i] {
			out = append(out, i)
		}
	}
	return out
}

// unharmed ends the flow and fails unless everything that was sent came back.
func (f *flow) unharmed(r *rig) {
	r.t.Helper()
	sent, _, err := f.state()
	if err != nil {
		r.t.Error(err)
		return
	}
	var lost []int
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(pace) {
		if lost = f.lost(sent); len(lost) == 0 || !f.isTCP() && f.last() > sent+1000 {
			break // five seconds of later packets are back: what is missing is lost
		}
	}
	f.close()
	if len(lost) > 0 {
		r.t.Errorf("%s: %d of %d lost: numbers %s; woes: %q; drops: %v; guard: %v", f.name, len(lost), sent, spans(lost), f.woes, r.drops(), r.guard())
		for _, h := range []string{lab.HostLaptop1, lab.HostOfficeGW, lab.HostHub, "svc1"} {
			r.t.Logf("%s:\n%s", h, r.sh(h, "grep -E '^(Ip|Icmp|Udp):' /proc/net/snmp; ip -s link"))
		}
	}
	r.t.Logf("%s: %d sent, %d lost", f.name, sent, len(lost))
}

// last is the highest number that came back.
func (f *flow) last() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	high := -1
	for n := range f.seen {
		high = max(high, n)
	}
	return high
}

// spans writes sorted numbers short: 3-5 9.
func spans(n []int) string {
	var out []string
	for i := 0; i < len(n); {
		j := i
		for j+1 < len(n) && n[j+1] == n[j]+1 {
			j++
		}
		if i == j {
			out = append(out, strconv.Itoa(n[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", n[i], n[j]))
		}
		i = j + 1
	}
	return strings.Join(out, " ")
}

// load is what runs while something happens to the hub.
type load []*flow

// everyKind starts UDP and TCP from each host to the service.
func (r *rig) everyKind(to string, from ...string) load {
	r.t.Helper()
	var l load
	for _, h := range from {
		l = append(l, r.udp(h, to), r.tcp(h, to))
	}
	return l
}

// more waits until each flow has had n more packets back, a fifth of that over TCP.
func (l load) more(r *rig, n int) {
	r.t.Helper()
	for _, f := range l {
		if f.isTCP() {
			f.more(r, n/5)
		} else {
			f.more(r, n)
		}
	}
}

// unharmed ends all flows and fails unless nothing of any was lost.
func (l load) unharmed(r *rig) {
	r.t.Helper()
	for _, f := range l {
		f.unharmed(r)
	}
}

// pinger is the machine's own ping.
type pinger struct {
	r    *rig
	out  bytes.Buffer
	stop func() error
}

var echoed = regexp.MustCompile(`icmp_seq=(\d+) ttl=`)

// ping starts ping in a host.
func (r *rig) ping(from, to string) *pinger {
	r.t.Helper()
	p := &pinger{r: r}
	cmd := fabric.Command(r.t.Context(), r.ns(from), "ping", "-n", "-i", pingPace, r.addr(to))
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	r.must(cmd.Start())
	p.stop = func() error { return errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()) }
	return p
}

// unharmed ends it and fails unless every echo up to the last one came back.
func (p *pinger) unharmed() {
	p.r.t.Helper()
	p.r.must(p.stop())
	seen := map[int]bool{}
	last := 0
	for _, m := range echoed.FindAllStringSubmatch(p.out.String(), -1) {
		n, err := strconv.Atoi(m[1])
		p.r.must(err)
		seen[n] = true
		last = max(last, n)
	}
	var lost []int
	for n := 1; n <= last; n++ {
		if !seen[n] {
			lost = append(lost, n)
		}
	}
	if last < 10 || len(lost) > 0 {
		p.r.t.Errorf("ping: of %d echoes these were lost: %s", last, spans(lost))
	}
	p.r.t.Logf("ping: %d echoes, %d lost", last, len(lost))
}

// stalls waits until nothing comes back of 100 packets sent one after the other.
func (f *flow) stalls(r *rig) {
	r.t.Helper()
	sent, back, _ := f.state()
	eventually(r.t, f.name+" stalls", func() error {
		nowSent, nowBack, err := f.state()
		if err != nil {
			r.t.Fatal(err)
		}
		if nowBack != back {
			sent, back = nowSent, nowBack
		}
		if nowSent < sent+100 {
			return fmt.Errorf("%d came back", nowBack)
		}
		return nil
	})
}
