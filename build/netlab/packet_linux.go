package netlab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Inject sends a whole IPv6 packet from the namespace to where its routing table leads packets to that destination, from
// whatever source. A packet to a link-local or multicast destination leaves by the named interface; for others the name is
// of no account.
func (ns *Namespace) Inject(packet []byte, name string) error {
	if len(packet) < 40 {
		return fmt.Errorf("%s: a packet of %d octets is none of IPv6", ns.name, len(packet))
	}
	to := &unix.SockaddrInet6{Addr: [16]byte(packet[24:40])}
	if dst := netip.AddrFrom16(to.Addr); dst.IsLinkLocalUnicast() || dst.IsMulticast() {
		l, err := ns.Link(name)
		if err != nil {
			return err
		}
		to.ZoneId = uint32(l.Index)
	}
	return ns.sendOnce(unix.AF_INET6, unix.IPPROTO_RAW, packet, to)
}

// SendFrame sends Ethernet frames by an interface, each with its header, as they are.
func (ns *Namespace) SendFrame(name string, frames ...[]byte) error {
	l, err := ns.Link(name)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		if err := ns.sendOnce(unix.AF_PACKET, 0, frame, &unix.SockaddrLinklayer{Ifindex: l.Index}); err != nil {
			return err
		}
	}
	return nil
}

func (ns *Namespace) sendOnce(domain, protocol int, octets []byte, to unix.Sockaddr) error {
	return ns.wrap("send a packet", ns.Do(func() error {
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, octets, 0, to)
	}))
}

// Capture sees the IPv6 packets that arrive at a namespace on any interface, before its kernel does: also those that the
// kernel goes on to drop. It is for one goroutine.
type Capture struct {
	fd     int
	buffer []byte
}

// Capture begins to capture. What arrives from now on is kept until it is asked for.
func (ns *Namespace) Capture() (*Capture, error) {
	c := &Capture{buffer: make([]byte, 1<<17)}
	err := ns.Do(func() (err error) {
		// A socket for one protocol sees what arrives, not what is sent.
		protocol := binary.NativeEndian.Uint16([]byte{unix.ETH_P_IPV6 >> 8, unix.ETH_P_IPV6 & 0xff})
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(protocol))
		return err
	})
	if err != nil {
		return nil, ns.wrap("capture", err)
	}
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // an ordinary user has the usual one
	return c, nil
}

// Next gives the next packet that arrived, or arrives within the given time; nil if there is none.
func (c *Capture) Next(limit time.Duration) ([]byte, error) {
	for end := time.Now().Add(limit); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil, nil
		}
		ready := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, int(left/time.Millisecond)+1); err != nil && err != unix.EINTR {
			return nil, fmt.Errorf("capture: %w", err)
		}
		switch n, _, err := unix.Recvfrom(c.fd, c.buffer, unix.MSG_DONTWAIT); err {
		case nil:
			return bytes.Clone(c.buffer[:n]), nil
		case unix.EAGAIN, unix.EINTR:
		default:
			return nil, fmt.Errorf("capture: %w", err)
		}
	}
}

// Close ends the capture. To close it again is no error.
func (c *Capture) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1 // by now another file may have the number
	return unix.Close(fd)
}
