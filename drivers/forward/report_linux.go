package forward

import (
	"errors"

	"golang.org/x/sys/unix"
)

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
		b := e.table.sent(r.from, r.payload)
		if b == nil {
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
