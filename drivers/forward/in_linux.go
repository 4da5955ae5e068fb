package forward

import (
	"golang.org/x/sys/unix"
)

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
