package rawip

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

var errNoPacket = errors.New("these octets are no IPv6 packet")

// linkSender writes frames to one link. It never waits: a full queue is an error.
type linkSender struct {
	counters *counters
	raw      syscall.RawConn

	mu    sync.Mutex
	frame []byte // reused; begins with the Ethernet header
	err   error
	write func(fd uintptr) bool
}

func newLinkSender(c *counters, file *os.File, source ipv6.LinkAddr) (*linkSender, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &linkSender{counters: c, raw: raw, frame: make([]byte, frameHeader, frameHeader+1500)}
	s.frame[12], s.frame[13] = unix.ETH_P_IPV6>>8, unix.ETH_P_IPV6&0xff
	s.setSource(source)
	s.write = func(fd uintptr) bool {
		_, s.err = unix.Write(int(fd), s.frame)
		return true
	}
	return s, nil
}

func (s *linkSender) setSource(source ipv6.LinkAddr) {
	s.mu.Lock()
	copy(s.frame[6:12], source[:])
	s.mu.Unlock()
}

func (s *linkSender) send(dst ipv6.LinkAddr, packet []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.frame[0:6], dst[:])
	s.frame = append(s.frame[:frameHeader], packet...)
	s.err = nil
	if err := s.raw.Write(s.write); err != nil {
		s.err = err
	}
	if s.err != nil {
		s.counters.sendErrors.Add(1)
		return fmt.Errorf("send a frame to %v: %w", dst, s.err)
	}
	s.counters.sent.Add(1)
	return nil
}

// routedSender sends packets by the routing table, through a raw socket that takes the IPv6 header from us.
type routedSender struct {
	counters *counters
	file     *os.File
	raw      syscall.RawConn

	mu     sync.Mutex
	packet []byte
	to     unix.SockaddrInet6
	source []byte // a control message that names the packet's source, for routes that depend on it
	err    error
	write  func(fd uintptr) bool
}

func newRoutedSender(c *counters) (*routedSender, error) {
	// IPPROTO_RAW implies that the header is ours.
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open the raw socket for whole IPv6 packets: %w", err)
	}
	// The source of a packet need not be an address of ours: a node's home address is one no more after a move.
	if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("allow any source on the raw socket: %w", err)
	}
	// It only sends, but the kernel would queue what it receives.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("shrink the raw socket's receive buffer: %w", err)
	}
	s := &routedSender{counters: c, file: os.NewFile(uintptr(fd), "raw"), source: make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.source[0]))
	h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	s.write = func(fd uintptr) bool {
		_, s.err = unix.SendmsgN(int(fd), s.packet, s.source, &s.to, unix.MSG_DONTWAIT)
		return true
	}
	return s, nil
}

func (s *routedSender) send(packet []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.check(packet)
	if err == nil {
		s.packet, s.err = packet, nil
		copy(s.source[unix.CmsgLen(0):], packet[8:24])
		copy(s.to.Addr[:], packet[24:40])
		if err = s.raw.Write(s.write); err == nil {
			err = s.err
		}
		s.packet = nil
	}
	if err != nil {
		s.counters.sendErrors.Add(1)
		if len(packet) < ipv6.HeaderLen {
			return fmt.Errorf("send a packet: %w", err)
		}
		return fmt.Errorf("send a packet to %v: %w", netip.AddrFrom16([16]byte(packet[24:40])), err)
	}
	s.counters.sent.Add(1)
	return nil
}

func (s *routedSender) check(packet []byte) error {
	if len(packet) < ipv6.HeaderLen || packet[0]>>4 != 6 {
		return errNoPacket
	}
	if dst := netip.AddrFrom16([16]byte(packet[24:40])); dst.IsLinkLocalUnicast() || dst.IsLinkLocalMulticast() {
		return errors.New("a link-local destination needs a link, not the routing table")
	}
	return nil
}

func (s *routedSender) close() { s.file.Close() }
