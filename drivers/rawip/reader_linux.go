package rawip

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

const (
	// burst is how many packets of one link are read before the reader looks after the urgent socket and lets others run.
	// Under a flood a link's reader never waits, and Go's scheduler asks the network poller only when nothing else can
	// run, or after 10 ms.
	burst = 8

	// pause is how long a reader rests after an error that it does not know, so that it does not spin.
	pause = 100 * time.Millisecond
)

// reader takes packets from one packet socket and hands them on.
type reader struct {
	socket   *Socket
	file     *os.File
	raw      syscall.RawConn
	class    Class
	header   int // octets before the IPv6 header
	out      chan *Received
	received *atomic.Uint64
	full     *atomic.Uint64

	// The urgent socket is read by its own goroutine and, in a flood, by those of the links. The lock keeps its packets in
	// order up to the channel.
	mu    sync.Mutex
	next  *Received // what the next packet is read into
	from  unix.RawSockaddrLinklayer
	errno syscall.Errno

	// Made once: a closure for each packet would be an allocation for each packet.
	readOnce func(fd uintptr) bool
	poll     func(fd uintptr)
}

func newReader(s *Socket, file *os.File, class Class) (*reader, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &reader{socket: s, file: file, raw: raw, class: class}
	if class == OnLink {
		r.header, r.out, r.received, r.full = frameHeader, s.packets, &s.counters.received, &s.counters.full
	} else {
		r.out, r.received, r.full = s.urgent, &s.counters.urgent, &s.counters.urgentFull
	}
	r.readOnce = func(fd uintptr) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errno = r.receive(fd)
		return r.errno != unix.EAGAIN
	}
	r.poll = func(fd uintptr) {
		for range burst {
			if r.receive(fd) != 0 {
				return
			}
		}
	}
	return r, nil
}

// run reads until the file is closed.
func (r *reader) run() {
	for count := 0; ; count++ {
		if err := r.raw.Read(r.readOnce); err != nil {
			return
		}
		switch r.errno {
		case 0, unix.EINTR:
		case unix.ENETDOWN:
			// The interface went down, or is gone. The socket goes on when it comes up again.
			r.socket.counters.receiveErrors.Add(1)
		default:
			r.socket.counters.receiveErrors.Add(1)
			time.Sleep(pause)
		}
		if r.class == OnLink && count%burst == burst-1 {
			r.socket.urgentReader.help()
			runtime.Gosched()
		}
	}
}

// help reads what is waiting on r's socket, on the goroutine of another reader.
func (r *reader) help() {
	if !r.mu.TryLock() {
		return // its own goroutine is at it
	}
	defer r.mu.Unlock()
	_ = r.raw.Control(r.poll) // fails only once the file is closed
}

// receive reads one packet, without waiting, and hands it on. The caller holds the lock.
func (r *reader) receive(fd uintptr) syscall.Errno {
	if r.next == nil {
		r.next = r.socket.pool.get()
	}
	buf := r.next.buf
	fromLen := uint32(unsafe.Sizeof(r.from))
	// unix.Recvfrom would allocate an address for each packet. MSG_TRUNC gives the length before the packet was cut.
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
		unix.MSG_TRUNC|unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&r.from)), uintptr(unsafe.Pointer(&fromLen)))
	if errno != 0 {
		return errno
	}
	if n > uintptr(r.header+MaxPacket) {
		r.socket.counters.tooLong.Add(1)
		return 0
	}
	if r.deliver(buf[:n]) {
		r.next = nil
	}
	return 0
}

// deliver parses one packet and puts it into the channel. It reports whether the buffer went with it.
func (r *reader) deliver(frame []byte) bool {
	c := &r.socket.counters
	if len(frame) < r.header {
		c.problems[ipv6.Truncated].Add(1)
		return false
	}
	p := &r.next.Packet
	if problem := ipv6.Parse(frame[r.header:], p); problem != ipv6.OK {
		c.problems[problem].Add(1)
		return false
	}
	if Classify(p) != r.class {
		c.strayed.Add(1) // what the filter took for its type was link padding
		return false
	}
	p.Interface = int(r.from.Ifindex)
	p.LinkSource = ipv6.LinkAddr{}
	if r.from.Halen == uint8(len(p.LinkSource)) {
		copy(p.LinkSource[:], r.from.Addr[:])
	}
	r.next.At = time.Now()
	select {
	case r.out <- r.next:
		r.received.Add(1)
		return true
	default:
		r.full.Add(1)
		return false
	}
}

// addKernelDrops adds to the counter what the kernel dropped since the last call because the socket's buffer was full.
func (r *reader) addKernelDrops() {
	_ = r.raw.Control(func(fd uintptr) {
		stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			r.socket.counters.kernel.Add(uint64(stats.Drops))
		}
	})
}
