package forward

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	outBatchLen = 64
	inBatchLen  = 16

	// inRoom takes any packet: the kernel may hand over TCP segments merged to the length of the largest packet.
	inRoom = 65535 + headerLen

	socketBuffer = 1 << 20 // octets, of each direction

	// refreshInterval is how often the path MTUs of all bindings are asked for again, so that one that a router on the
	// path lowered can rise again (RFC 8201 section 4 wants ten minutes or more before a larger packet is tried, and
	// the kernel counts those).
	refreshInterval = 60 * time.Second
)

// engine moves packets between a TUN device and a raw socket for protocol 41: the tunnel of RFC 2473 in this process.
//
// Packets that the kernel routes into the device have passed the kernel's forwarding already, which took one off their
// hop limit; those that come out of the tunnel will pass it. So the engine itself leaves hop limits alone.
type engine struct {
	table *table
	mtu   int // of the device

	tun     *os.File
	in, out *os.File // protocol-41 sockets: one receives, with errors; one sends and receives nothing
	icmp    *os.File // sends whole packets
	probe   *pathProbe

	count struct {
		out, in             [reasonCount]atomic.Uint64
		outOctets, inOctets atomic.Uint64
		reports, unreported atomic.Uint64
		repaired            atomic.Uint64
	}

	limiterMu sync.Mutex
	limiter   limiter
	start     time.Time

	done chan struct{}
	wg   sync.WaitGroup
}

// newEngine opens the sockets in the network namespace of this thread and starts to move packets. It owns tun from then
// on, also when it fails.
func newEngine(t *table, tun *os.File, mtu int) (*engine, error) {
	e := &engine{table: t, mtu: mtu, tun: tun, start: time.Now(), done: make(chan struct{})}
	if err := e.open(); err != nil {
		e.closeFiles()
		return nil, err
	}
	e.wg.Add(3)
	go e.runOut()
	go e.runIn()
	go e.runRefresh()
	return e, nil
}

func (e *engine) open() (err error) {
	if e.in, err = rawSocket("tunnel-in", unix.IPPROTO_IPV6, func(fd int) error {
		for _, option := range [...]int{unix.IPV6_RECVPKTINFO, unix.IPV6_RECVTCLASS, unix.IPV6_RECVERR} {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option, 1); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if e.out, err = rawSocket("tunnel-out", unix.IPPROTO_IPV6, func(fd int) error {
		// What the other socket receives this one would too: it takes nothing.
		nothing := [...]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(nothing)), Filter: &nothing[0]})
	}); err != nil {
		return err
	}
	if e.icmp, err = rawSocket("tunnel-icmp", unix.IPPROTO_RAW, nil); err != nil {
		return err
	}
	e.probe, err = newPathProbe()
	return err
}

// rawSocket opens a raw IPv6 socket that is in Go's poller. prepare, if not nil, sets its options.
func rawSocket(name string, proto int, prepare func(fd int) error) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open a raw socket: %w (CAP_NET_RAW is needed)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	if prepare != nil {
		if err := prepare(fd); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set up the %s socket: %w", name, err)
		}
	}
	for _, o := range [...][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], socketBuffer)
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (e *engine) closeFiles() {
	for _, f := range []*os.File{e.tun, e.in, e.out, e.icmp} {
		if f != nil {
			f.Close()
		}
	}
	if e.probe != nil {
		e.probe.Close()
	}
}

// Close stops the engine and closes the device, which the kernel then removes.
func (e *engine) Close() {
	close(e.done)
	// A deadline wakes the readers; the files are closed when nobody uses them any more.
	_ = e.tun.SetDeadline(time.Unix(1, 0))
	_ = e.in.SetDeadline(time.Unix(1, 0))
	e.wg.Wait()
	e.closeFiles()
}

func (e *engine) now() int64 { return int64(time.Since(e.start)) }

// runOut takes packets that the kernel routed into the device and sends them through the tunnel.
func (e *engine) runOut() {
	defer e.wg.Done()
	tun, err := e.tun.SyscallConn()
	if err != nil {
		return
	}
	out, err := e.out.SyscallConn()
	if err != nil {
		return
	}
	o := newOutPath(e)
	read := func(fd uintptr) bool { return o.fill(fd) }
	send := func(fd uintptr) { o.flush(fd) }
	for {
		if err := tun.Read(read); err != nil {
			return // closed
		}
		o.encapsulate()
		if o.batch.n > 0 {
			if err := out.Control(send); err != nil {
				return
			}
		}
	}
}

// outPath is the state of runOut: buffers that are made once.
type outPath struct {
	e       *engine
	buffers [][]byte
	lengths []int
	n       int // packets read
	batch   *outBatch
	report  []byte
}

func newOutPath(e *engine) *outPath {
	o := &outPath{e: e, batch: newOutBatch(outBatchLen), lengths: make([]int, outBatchLen), report: make([]byte, 0, minMTU)}
	room := e.mtu
	all := make([]byte, outBatchLen*room)
	for i := range outBatchLen {
		o.buffers = append(o.buffers, all[i*room:(i+1)*room:(i+1)*room])
	}
	return o
}

// fill reads what is there, up to a batch. It reports false where there was nothing.
func (o *outPath) fill(fd uintptr) bool {
	for o.n = 0; o.n < outBatchLen; {
		n, err := unix.Read(int(fd), o.buffers[o.n])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		o.lengths[o.n] = n
		o.n++
	}
	return o.n > 0
}

// encapsulate puts those of the packets read that have a binding into the batch, and reports those that are too big.
func (o *outPath) encapsulate() {
	e := o.e
	o.batch.n = 0
	e.table.mu.RLock()
	defer e.table.mu.RUnlock()
	for i := range o.n {
		b := o.buffers[i][:o.lengths[i]]
		why := o.one(b)
		if why != passed {
			e.count.out[why].Add(1)
		}
	}
}

func (o *outPath) one(b []byte) reason {
	if !whole(b) {
		return malformed
	}
	n, why := o.e.table.outbound(b)
	if why != passed {
		return why
	}
	allowed, at, deep := limit(b)
	if deep > maxNesting {
		return tooNested
	}
	mtu := int(n.mtu.Load())
	inner := -1
	if at != 0 {
		if allowed == 0 {
			o.tell(n, report{Type: icmpParameter, Value: uint32(at)}, b)
			return limitReached
		}
		inner = int(allowed) - 1
		mtu -= 8
	}
	if len(b) > max(mtu, minMTU) {
		o.tell(n, report{Type: icmpPacketTooBig, Value: uint32(max(mtu, minMTU))}, b)
		return tooBig
	}
	o.batch.add(b, &n.local, &n.remote, trafficClass(b), inner)
	return passed
}

// tell sends the source of b the report r, if that may be.
func (o *outPath) tell(n *entry, r report, b []byte) { o.e.tell(o.report, n, r, b) }

func (e *engine) tell(scratch []byte, n *entry, r report, b []byte) {
	dst := source(b)
	if !mayReport(b) || !e.allow(&dst) {
		e.count.unreported.Add(1)
		return
	}
	from := n.local
	if e.table.side == nodeSide {
		from = n.remote // the router's: an error from the address that it is sent to would look like a spoofed one
	}
	p := appendReport(scratch[:0], from, r, b)
	if err := e.sendWhole(p, dst); err != nil {
		e.count.unreported.Add(1)
		return
	}
	e.count.reports.Add(1)
}

func (e *engine) allow(dst *addr) bool {
	e.limiterMu.Lock()
	defer e.limiterMu.Unlock()
	return e.limiter.allow(dst, e.now())
}

// sendWhole sends a packet as it is by the routing table.
func (e *engine) sendWhole(p []byte, dst addr) error {
	conn, err := e.icmp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.Sendto(int(fd), p, unix.MSG_DONTWAIT, &unix.SockaddrInet6{Addr: dst})
	})
	return errors.Join(err, failed)
}

// flush sends the batch.
func (o *outPath) flush(fd uintptr) {
	count := &o.e.count
	for first := 0; first < o.batch.n; {
		n, errno := o.batch.send(fd, first)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			why := notSent
			if errno == unix.EAGAIN || errno == unix.ENOBUFS {
				why = queueFull
			}
			count.out[why].Add(1)
			first++ // this one is lost, the others may do
			continue
		}
		octets := uint64(0)
		for i := first; i < first+n; i++ {
			octets += uint64(o.batch.hdrs[i].n)
		}
		count.out[passed].Add(uint64(n))
		count.outOctets.Add(octets)
		first += n
	}
}

// runIn takes tunnel packets and hands what is in them to the kernel.
func (e *engine) runIn() {
	defer e.wg.Done()
	in, err := e.in.SyscallConn()
	if err != nil {
		return
	}
	tun, err := e.tun.SyscallConn()
	if err != nil {
		return
	}
	p := newInPath(e)
	receive := func(fd uintptr) bool { return p.fill(fd) }
	deliver := func(fd uintptr) { p.deliver(fd) }
	for {
		if err := in.Read(receive); err != nil {
			return // closed
		}
		p.check()
		if err := tun.Control(deliver); err != nil {
			return
		}
	}
}

// inPath is the state of runIn: buffers that are made once.
type inPath struct {
	e        *engine
	batch    *inBatch
	n        int // packets received
	verdicts [inBatchLen]reason
	errors   *inBatch
	report   []byte
	scratch  []byte // of segments
	fd       int
	emit     func([]byte)
}

func newInPath(e *engine) *inPath {
	p := &inPath{
		e: e, batch: newInBatch(inBatchLen, inRoom), errors: newInBatch(4, minMTU),
		report: make([]byte, 0, minMTU), scratch: make([]byte, minMTU),
	}
	p.emit = func(b []byte) { p.write(b) }
	return p
}

// fill receives what is there, up to a batch. It reports false where there was nothing.
func (p *inPath) fill(fd uintptr) bool {
	for range 8 {
		n, errno := p.batch.receive(fd, 0)
		if errno == 0 {
			p.n = n
			return n > 0
		}
		if errno != unix.EINTR && !p.drain(fd) && errno == unix.EAGAIN {
			break
		}
	}
	p.n = 0
	return false
}

// check decides which of the packets received may leave the tunnel.
func (p *inPath) check() {
	e := p.e
	e.table.mu.RLock()
	defer e.table.mu.RUnlock()
	for i := range p.n {
		r := p.batch.packet(i)
		why := passed
		switch {
		case r.cut:
			why = oversized
		case !whole(r.payload):
			why = malformed
		default:
			why = e.table.inbound(r.from, &r.to, r.payload)
		}
		if why == passed && !decapsulateECN(r.class, r.payload) {
			why = notECN
		}
		p.verdicts[i] = why
		if why != passed {
			e.count.in[why].Add(1)
		}
	}
}

// deliver writes the packets that passed to the device.
func (p *inPath) deliver(fd uintptr) {
	p.fd = int(fd)
	for i := range p.n {
		if p.verdicts[i] != passed {
			continue
		}
		b := p.batch.packet(i).payload
		if proto, at, ok := unfinished(b); ok {
			p.e.count.repaired.Add(1)
			if proto == protoTCP && len(b) > minMTU {
				if !segments(b, at, minMTU, p.scratch, p.emit) {
					p.e.count.in[malformed].Add(1)
				}
				continue
			}
			finish(b, at, proto)
		}
		p.write(b)
	}
}

func (p *inPath) write(b []byte) {
	if len(b) > p.e.mtu {
		p.e.count.in[oversized].Add(1)
		return
	}
	for {
		_, err := unix.Write(p.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			p.e.count.in[notDelivered].Add(1)
			return
		}
		p.e.count.in[passed].Add(1)
		p.e.count.inOctets.Add(uint64(len(b)))
		return
	}
}

// drain takes the errors that came back from inside the tunnel and passes them on to the sources of the packets that were
// in it (RFC 2473 section 8). It reports whether there were any.
func (p *inPath) drain(fd uintptr) bool {
	n, errno := p.errors.receive(fd, unix.MSG_ERRQUEUE)
	if errno != 0 || n == 0 {
		return false
	}
	e := p.e
	e.table.mu.RLock()
	defer e.table.mu.RUnlock()
	for i := range n {
		r := p.errors.packet(i)
		// The kernel hands over what was behind the outer header: the packet in it, cut off.
		if r.err == nil || r.err.Origin != unix.SO_EE_ORIGIN_ICMP6 || len(r.payload) < headerLen || r.payload[0]>>4 != 6 {
			continue
		}
		home := destination(r.payload)
		if e.table.side == nodeSide {
			home = source(r.payload)
		}
		b := e.table.entries[home]
		if b == nil || b.remote != *r.from {
			continue
		}
		if r.err.Type != icmpPacketTooBig {
			e.tell(p.report, b, report{Type: icmpUnreachable, Code: codeAddress}, r.payload)
			continue
		}
		mtu := max(int(r.err.Info), minMTU) - headerLen
		if mtu < int(b.mtu.Load()) {
			b.mtu.Store(uint32(mtu))
		}
		if size := headerLen + int(r.payload[4])<<8 + int(r.payload[5]); size > max(mtu, minMTU) {
			e.tell(p.report, b, report{Type: icmpPacketTooBig, Value: uint32(max(mtu, minMTU))}, r.payload)
		}
	}
	return true
}

// pathMTU asks the kernel for the tunnel MTU towards an address: that of the path less the tunnel header, and no more
// than the device's.
func (e *engine) pathMTU(remote addr) int {
	path := e.probe.mtu(remote)
	if path <= 0 {
		return e.mtu
	}
	return min(max(path, minMTU)-headerLen, e.mtu)
}

func (e *engine) runRefresh() {
	defer e.wg.Done()
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	for {
		select {
		case <-e.done:
			return
		case <-tick.C:
			e.refresh()
		}
	}
}

func (e *engine) refresh() {
	e.table.mu.RLock()
	all := make([]*entry, 0, len(e.table.entries))
	for _, n := range e.table.entries {
		all = append(all, n)
	}
	e.table.mu.RUnlock()
	for _, n := range all {
		n.mtu.Store(uint32(e.pathMTU(n.remote)))
	}
}

// Counters yields packets and octets that passed, and drops by reason, for each direction.
func (e *engine) Counters(yield func(name string, value uint64)) {
	for why := range reasonCount {
		yield("out_"+reasonNames[why], e.count.out[why].Load())
		if why == passed {
			yield("out_octets", e.count.outOctets.Load())
		}
	}
	for why := range reasonCount {
		yield("in_"+reasonNames[why], e.count.in[why].Load())
		if why == passed {
			yield("in_octets", e.count.inOctets.Load())
		}
	}
	yield("icmp_sent", e.count.reports.Load())
	yield("icmp_withheld", e.count.unreported.Load())
	yield("in_repaired", e.count.repaired.Load())
}

// pathProbe asks the kernel what it knows about the way to an address, without sending anything.
type pathProbe struct {
	mu sync.Mutex
	fd int
}

func newPathProbe() (*pathProbe, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket to ask for path MTUs: %w", err)
	}
	return &pathProbe{fd: fd}, nil
}

// mtu gives the path MTU towards dst, 0 where there is no route.
func (p *pathProbe) mtu(dst addr) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The discard port: the socket connects, and never sends.
	if err := unix.Connect(p.fd, &unix.SockaddrInet6{Addr: dst, Port: 9}); err != nil {
		return 0
	}
	mtu, err := unix.GetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
	if err != nil {
		return 0
	}
	return mtu
}

func (p *pathProbe) Close() { unix.Close(p.fd) }
