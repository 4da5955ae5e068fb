package frames

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// bufferSize is what the kernel may keep of frames until they are read: those of thousands of nodes.
const bufferSize = 8 << 20

// Socket is a promiscuous packet socket on one interface. It receives IPv6 packets that may be Neighbour Discovery or
// mobility headers; a filter in the kernel leaves out all others, so that traffic that is none of the nodes' costs nothing.
type Socket struct {
	file *os.File
	raw  syscall.RawConn
}

// Open opens a socket on an interface. It needs CAP_NET_RAW.
func Open(name string) (*Socket, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("there is no interface %q: name one that exists", name)
	}
	filter, err := program()
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(device.Index), Type: unix.PACKET_MR_PROMISC}),
		buffers(fd),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IPV6), Ifindex: device.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("prepare the packet socket on %s: %w", name, err)
	}
	s := &Socket{file: os.NewFile(uintptr(fd), name)}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

// buffers makes the queues long, beyond what an ordinary user may have where that is allowed.
func buffers(fd int) error {
	for _, o := range [...][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], bufferSize) == nil {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], bufferSize); err != nil {
			return err
		}
	}
	return nil
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)})
}

// program accepts packets that others sent and that begin with ICMPv6, a mobility header, a routing header or destination
// options.
func program() ([]unix.SockFilter, error) {
	const all = 0x40000
	assembled, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 6},
		bpf.LoadAbsolute{Off: HeaderLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: ipv6.ProtoICMPv6, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: ipv6.ProtoMobility, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: ipv6.ProtoRouting, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: ipv6.ProtoDestination, SkipTrue: 1},
		bpf.RetConstant{Val: all},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(assembled))
	for i, in := range assembled {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return filter, nil
}

// Receive waits for a frame and gives its length in b. The error after Close is os.ErrClosed.
func (s *Socket) Receive(b []byte) (n int, err error) {
	for {
		var readErr error
		err = s.raw.Read(func(fd uintptr) bool {
			n, readErr = unix.Read(int(fd), b)
			return readErr != unix.EAGAIN
		})
		switch {
		case err != nil:
			return 0, os.ErrClosed
		case readErr == unix.EINTR, readErr == unix.ENETDOWN: // an interface that is down may come back
			continue
		case readErr != nil:
			return 0, readErr
		}
		return n, nil
	}
}

// Send sends a frame. It waits while the queue is full.
func (s *Socket) Send(frame []byte) error {
	var writeErr error
	err := s.raw.Write(func(fd uintptr) bool {
		_, writeErr = unix.Write(int(fd), frame)
		return writeErr != unix.EAGAIN
	})
	if err != nil {
		return os.ErrClosed
	}
	if writeErr != nil {
		return fmt.Errorf("send a frame: %w", writeErr)
	}
	return nil
}

// Close ends a Receive that waits.
func (s *Socket) Close() error { return s.file.Close() }
