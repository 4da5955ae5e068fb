package forward

import (
	"golang.org/x/sys/unix"
)

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
