package rig

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/ipv6"
)

// Wire is one Ethernet on which this process plays many stations: it sends frames from any of them and hears all frames
// that come from the other end.
type Wire struct {
	Hardware ipv6.LinkAddr // of the interface itself

	file  *os.File
	frame []byte
}

// EthernetLen is the length of an Ethernet header.
const EthernetLen = 14

// OpenWire opens an interface of a namespace.
func OpenWire(ns *netlab.Namespace, device string) (*Wire, error) {
	link, err := ns.Link(device)
	if err != nil {
		return nil, err
	}
	w := &Wire{Hardware: link.Hardware}
	return w, ns.Do(func() error { return w.open(link.Index) })
}

// open opens the interface in the calling thread's network namespace.
func (w *Wire) open(index int) error {
	const protocol = unix.ETH_P_IPV6<<8&0xff00 | unix.ETH_P_IPV6>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	membership := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index}),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &membership),
	)
	if err != nil {
		unix.Close(fd)
		return err
	}
	w.file = os.NewFile(uintptr(fd), "wire")
	return nil
}

// Only makes Receive see nothing but packets whose first header after the fixed one has that number: what else is on the wire
// does not cost this process anything then. What had come before is still there.
func (w *Wire) Only(next uint8) error {
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: EthernetLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(next), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	return w.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
}

// All ends what Only began.
func (w *Wire) All() error {
	return w.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
}

func (w *Wire) control(f func(fd int) error) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// Send puts one IPv6 packet on the wire. It is not safe for concurrent use.
func (w *Wire) Send(from, to ipv6.LinkAddr, packet []byte) error {
	w.frame = append(w.frame[:0], to[:]...)
	w.frame = append(w.frame, from[:]...)
	w.frame = binary.BigEndian.AppendUint16(w.frame, unix.ETH_P_IPV6)
	w.frame = append(w.frame, packet...)
	_, err := w.file.Write(w.frame)
	return err
}

// Receive waits for the next IPv6 packet until the deadline; ok is false when it passed. The packet shares buf. What
// cannot be parsed is passed over.
func (w *Wire) Receive(buf []byte, deadline time.Time, p *ipv6.Packet) (to ipv6.LinkAddr, ok bool) {
	w.file.SetReadDeadline(deadline)
	for {
		n, err := w.file.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // it may come up again
		}
		if err != nil {
			return ipv6.LinkAddr{}, false
		}
		if n > EthernetLen && ipv6.Parse(buf[EthernetLen:n], p) == ipv6.OK {
			p.LinkSource = ipv6.LinkAddr(buf[6:12])
			return ipv6.LinkAddr(buf[:6]), true
		}
	}
}

// Close ends a Receive that waits.
func (w *Wire) Close() { w.file.Close() }
