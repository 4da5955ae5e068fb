package main

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// wire is one Ethernet on which this process plays many stations: it sends frames from any of them and hears all frames.
type wire struct {
	file  *os.File
	index int
	frame []byte
}

// ethernetLen is the length of an Ethernet header.
const ethernetLen = 14

// openWire opens the interface in the calling thread's network namespace.
func openWire(index int) (*wire, error) {
	const protocol = unix.ETH_P_IPV6<<8&0xff00 | unix.ETH_P_IPV6>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	membership := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index}),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &membership),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
	)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &wire{file: os.NewFile(uintptr(fd), "wire"), index: index}, nil
}

// send puts one packet on the wire. It is not safe for concurrent use.
func (w *wire) send(from, to ipv6.LinkAddr, packet []byte) error {
	w.frame = append(w.frame[:0], to[:]...)
	w.frame = append(w.frame, from[:]...)
	w.frame = binary.BigEndian.AppendUint16(w.frame, unix.ETH_P_IPV6)
	w.frame = append(w.frame, packet...)
	_, err := w.file.Write(w.frame)
	return err
}

// receive waits for the next packet until the deadline; ok is false when it passed. The packet shares buf.
func (w *wire) receive(buf []byte, deadline time.Time, p *ipv6.Packet) (to ipv6.LinkAddr, ok bool) {
	w.file.SetReadDeadline(deadline)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return ipv6.LinkAddr{}, false
		}
		if n > ethernetLen && ipv6.Parse(buf[ethernetLen:n], p) == ipv6.OK {
			return ipv6.LinkAddr(buf[:6]), true
		}
	}
}

func (w *wire) close() { w.file.Close() }
