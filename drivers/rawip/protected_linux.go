package rawip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// protected is a raw socket for mobility headers. The kernel takes them through IPsec in both directions, which a packet
// socket would see and send as they are on the wire.
type protected struct {
	socket *Socket
	file   *os.File
	raw    syscall.RawConn
	out    chan *Received

	// Reading, on the reader's goroutine alone.
	next     *Received
	from     unix.RawSockaddrInet6
	control  [256]byte
	iov      unix.Iovec
	message  unix.Msghdr
	drops    uint32 // of the kernel, as it told last
	errno    syscall.Errno
	readOnce func(fd uintptr) bool

	mu     sync.Mutex // guards what follows: sending
	packet []byte
	to     unix.SockaddrInet6
	source []byte // a control message that names the source
	err    error
	write  func(fd uintptr) bool
}

// protectedFilter takes HI and HAck. What it looks at begins with the mobility header.
func protectedFilter() ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 2, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeHI, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeHAck, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: accept},
	})
}

func newProtected(s *Socket) (*protected, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, ipv6.ProtoMobility)
	if err != nil {
		return nil, fmt.Errorf("open the raw socket for protected mobility headers: %w", err)
	}
	if err := setProtected(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up the raw socket for protected mobility headers: %w", err)
	}
	p := &protected{
		socket: s, file: os.NewFile(uintptr(fd), "mobility"), out: s.protected,
		source: make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo)),
	}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&p.source[0]))
	h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	p.readOnce = func(fd uintptr) bool {
		p.errno = p.receive(fd)
		return p.errno != unix.EAGAIN
	}
	p.write = func(fd uintptr) bool {
		_, p.err = unix.SendmsgN(int(fd), p.packet, p.source, &p.to, unix.MSG_DONTWAIT)
		return true
	}
	return p, nil
}

func setProtected(fd int) error {
	program, err := protectedFilter()
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return err
	}
	for _, o := range []struct{ level, option, value int }{
		// The checksum is the sender's. A wrong one is to be counted by who reads the header, not dropped in silence.
		{unix.SOL_IPV6, unix.IPV6_CHECKSUM, -1},
		{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1},
		{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
		{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return err
		}
	}
	return nil
}

// run reads until the file is closed.
func (p *protected) run() {
	for {
		if err := p.raw.Read(p.readOnce); err != nil {
			return
		}
		switch p.errno {
		case 0, unix.EINTR:
		default:
			p.socket.counters.receiveErrors.Add(1)
			time.Sleep(pause)
		}
	}
}

// receive reads one mobility header, without waiting, and hands it on.
func (p *protected) receive(fd uintptr) syscall.Errno {
	if p.next == nil {
		p.next = p.socket.pool.get()
	}
	room := p.next.buf[ipv6.HeaderLen:]
	p.iov.Base = &room[0]
	p.iov.SetLen(len(room))
	p.message = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&p.from)), Namelen: unix.SizeofSockaddrInet6, Iov: &p.iov, Control: &p.control[0]}
	p.message.SetIovlen(1)
	p.message.SetControllen(len(p.control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&p.message)), unix.MSG_TRUNC|unix.MSG_DONTWAIT)
	if errno != 0 {
		return errno
	}
	if n > MaxPacket-ipv6.HeaderLen {
		p.socket.counters.tooLong.Add(1)
		return 0
	}
	if p.deliver(int(n), p.control[:p.message.Controllen]) {
		p.next = nil
	}
	return 0
}

// deliver puts the header of IPv6 before the n octets that were read, and the packet into the channel. It reports whether
// the buffer went with it.
func (p *protected) deliver(n int, control []byte) bool {
	c := &p.socket.counters
	raw := p.next.buf[:ipv6.HeaderLen+n]
	clear(raw[:ipv6.HeaderLen])
	raw[0] = 6 << 4
	binary.BigEndian.PutUint16(raw[4:], uint16(n))
	raw[6] = ipv6.ProtoMobility
	copy(raw[8:], p.from.Addr[:])
	link := 0
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		control = rest
		switch {
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			copy(raw[24:ipv6.HeaderLen], data)
			link = int(binary.NativeEndian.Uint32(data[16:]))
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			raw[7] = uint8(binary.NativeEndian.Uint32(data))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			drops := binary.NativeEndian.Uint32(data)
			c.kernel.Add(uint64(drops - p.drops))
			p.drops = drops
		}
	}
	packet := &p.next.Packet
	if problem := ipv6.Parse(raw, packet); problem != ipv6.OK {
		c.problems[problem].Add(1)
		return false
	}
	if !IsProtected(packet) {
		c.strayed.Add(1) // came before the filter was there, or to a group
		return false
	}
	packet.Interface, packet.LinkSource = link, ipv6.LinkAddr{}
	p.next.At = time.Now()
	select {
	case p.out <- p.next:
		c.protected.Add(1)
		return true
	default:
		c.protectedFull.Add(1)
		return false
	}
}

func (p *protected) send(src, dst netip.Addr, mh []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := CheckProtected(src, dst, mh)
	if err == nil {
		p.packet, p.err = mh, nil
		source := src.As16()
		copy(p.source[unix.CmsgLen(0):], source[:])
		p.to.Addr = dst.As16()
		if err = p.raw.Write(p.write); err == nil {
			err = p.err
		}
		p.packet = nil
	}
	if err != nil {
		p.socket.counters.sendErrors.Add(1)
		return fmt.Errorf("send a protected mobility header from %v to %v: %w", src, dst, explained(err))
	}
	p.socket.counters.sent.Add(1)
	return nil
}

// explained tells what the kernel means where its own words mislead.
func explained(err error) error {
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the source is no address of this router", err)
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%w: an IPsec policy covers it, but there is no security association yet", err)
	}
	return err
}

func (p *protected) close() { p.file.Close() }
