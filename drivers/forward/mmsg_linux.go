package forward

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr: sendmmsg and recvmmsg take an array of them.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // octets sent or received
}

// Spaces of the control messages.
var (
	spacePktinfo = unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	spaceTClass  = unix.CmsgSpace(4)
	spaceDstOpts = unix.CmsgSpace(8)
)

// controlWords holds all control messages of one packet, aligned for their headers.
const controlWords = 16

// outMsg is what one tunnel packet needs beside its payload.
type outMsg struct {
	name    unix.RawSockaddrInet6
	control [controlWords]uint64
	iov     unix.Iovec
}

// outBatch is a batch of tunnel packets to send by one system call. It is made once and filled again and again.
type outBatch struct {
	n    int
	hdrs []mmsghdr
	msgs []outMsg
}

func newOutBatch(size int) *outBatch {
	o := &outBatch{hdrs: make([]mmsghdr, size), msgs: make([]outMsg, size)}
	for i := range o.msgs {
		m, h := &o.msgs[i], &o.hdrs[i].hdr
		m.name.Family = unix.AF_INET6
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&m.name)), unix.SizeofSockaddrInet6
		h.Iov = &m.iov
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&m.control[0]))

		putCmsg(m.at(0), unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		putCmsg(m.at(spacePktinfo), unix.IPV6_TCLASS, 4)
		putCmsg(m.at(spacePktinfo+spaceTClass), unix.IPV6_DSTOPTS, 8)
		// Next header (the kernel's), length 0, the option, and PadN of one octet.
		*(*[8]byte)(m.at(spacePktinfo + spaceTClass + unix.CmsgLen(0))) = [8]byte{2: optEncapLimit, 3: 1, 5: 1, 6: 1}
	}
	return o
}

// at points into the control messages at an offset that CmsgSpace gave.
func (m *outMsg) at(offset int) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(&m.control[0]), offset)
}

func putCmsg(p unsafe.Pointer, typ int32, n int) {
	h := (*unix.Cmsghdr)(p)
	h.SetLen(unix.CmsgLen(n))
	h.Level, h.Type = unix.IPPROTO_IPV6, typ
}

// add puts one tunnel packet into the batch: payload, from src to dst. An encapsulation limit below 0 means none.
func (o *outBatch) add(payload []byte, src, dst *addr, class uint8, limit int) {
	m, h := &o.msgs[o.n], &o.hdrs[o.n].hdr
	o.n++
	m.name.Addr = *dst
	m.iov.Base = &payload[0]
	m.iov.SetLen(len(payload))
	(*unix.Inet6Pktinfo)(m.at(unix.CmsgLen(0))).Addr = *src
	length := spacePktinfo
	if class != 0 || limit >= 0 {
		*(*int32)(m.at(spacePktinfo + unix.CmsgLen(0))) = int32(class)
		length += spaceTClass
	}
	if limit >= 0 {
		*(*byte)(m.at(spacePktinfo + spaceTClass + unix.CmsgLen(0) + 4)) = byte(limit)
		length += spaceDstOpts
	}
	h.SetControllen(length)
}

// send hands the batch from the packet first on to the kernel. It returns how many it took, or why it did not take the
// first.
func (o *outBatch) send(fd uintptr, first int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.hdrs[first])), uintptr(o.n-first),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// inMsg is where one received packet and what the kernel says about it go.
type inMsg struct {
	name    unix.RawSockaddrInet6
	control [controlWords]uint64
	iov     unix.Iovec
	data    []byte
}

// inBatch receives a batch of tunnel packets by one system call.
type inBatch struct {
	hdrs []mmsghdr
	msgs []inMsg
}

// newInBatch makes room for size packets of up to room octets. The pages of the room that packets never reach never
// become memory.
func newInBatch(size, room int) *inBatch {
	in := &inBatch{hdrs: make([]mmsghdr, size), msgs: make([]inMsg, size)}
	all := make([]byte, size*room)
	for i := range in.msgs {
		m, h := &in.msgs[i], &in.hdrs[i].hdr
		m.data = all[i*room : (i+1)*room : (i+1)*room]
		m.iov.Base = &m.data[0]
		m.iov.SetLen(room)
		h.Name = (*byte)(unsafe.Pointer(&m.name))
		h.Iov = &m.iov
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&m.control[0]))
	}
	return in
}

// receive takes what is there, up to the size of the batch.
func (in *inBatch) receive(fd uintptr, flags int) (int, unix.Errno) {
	for i := range in.hdrs {
		h := &in.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(8 * controlWords)
		h.Flags = 0
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.hdrs[0])), uintptr(len(in.hdrs)),
		uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// received is one packet of an inBatch.
type received struct {
	payload []byte
	from    *addr // outer source; with errors, outer destination of the packet that the error is about
	to      addr  // outer destination
	class   uint8
	cut     bool
	err     *unix.SockExtendedErr // of the error queue
}

func (in *inBatch) packet(i int) received {
	m, h := &in.msgs[i], &in.hdrs[i]
	r := received{
		payload: m.data[:min(int(h.n), len(m.data))],
		from:    &m.name.Addr,
		cut:     h.hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0,
	}
	// The kernel wrote these headers, but they are bounded all the same.
	total := min(int(h.hdr.Controllen), 8*controlWords)
	for at := 0; at+unix.CmsgLen(0) <= total; {
		p := unsafe.Add(unsafe.Pointer(&m.control[0]), at)
		c := (*unix.Cmsghdr)(p)
		n := int(c.Len)
		if n < unix.CmsgLen(0) || at+n > total {
			break
		}
		body, size := unsafe.Add(p, unix.CmsgLen(0)), n-unix.CmsgLen(0)
		switch {
		case c.Level != unix.IPPROTO_IPV6:
		case c.Type == unix.IPV6_PKTINFO && size >= unix.SizeofInet6Pktinfo:
			r.to = (*unix.Inet6Pktinfo)(body).Addr
		case c.Type == unix.IPV6_TCLASS && size >= 4:
			r.class = uint8(*(*int32)(body))
		case c.Type == unix.IPV6_RECVERR && size >= int(unsafe.Sizeof(unix.SockExtendedErr{})):
			r.err = (*unix.SockExtendedErr)(body)
		}
		at += unix.CmsgSpace(size)
	}
	return r
}
