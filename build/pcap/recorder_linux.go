package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
)

// bufferSize is what the kernel may keep of one interface's frames until they are read: a second of heavy traffic.
const bufferSize = 8 << 20

// Recorder records the frames of several interfaces.
type Recorder struct {
	interfaces []Interface
	taps       []*tap
	readers    sync.WaitGroup

	mu      sync.Mutex
	frames  []Frame
	dropped uint64
	closed  bool
}

type tap struct {
	index int
	file  *os.File
	bare  bool // frames come without a link-layer header
}

// Add records the frames that an interface of a namespace sends and receives from now on. The name is what the capture
// calls it.
func (r *Recorder) Add(ns *netlab.Namespace, device, name, description string) error {
	return r.add(ns, device, name, description, false)
}

// AddIP does the same for an interface without link-layer header, such as a TUN device. The capture's frames have an
// Ethernet header without addresses then, so that all of it is of one link type.
func (r *Recorder) AddIP(ns *netlab.Namespace, device, name, description string) error {
	return r.add(ns, device, name, description, true)
}

func (r *Recorder) add(ns *netlab.Namespace, device, name, description string, bare bool) error {
	link, err := ns.Link(device)
	if err != nil {
		return err
	}
	var file *os.File
	err = ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			// Beyond net.core.rmem_max where that is allowed.
			forceBuffer(fd),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: link.Index}),
		)
		if err != nil {
			unix.Close(fd)
			return err
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("capture on %s of %s: %w", device, ns.Name(), err)
	}
	t := &tap{index: len(r.interfaces), file: file, bare: bare}
	r.interfaces = append(r.interfaces, Interface{Name: name, Description: description})
	r.taps = append(r.taps, t)
	r.readers.Go(func() { r.read(t) })
	return nil
}

func forceBuffer(fd int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize)
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)})
}

// read takes frames until the tap's file is closed.
func (r *Recorder) read(t *tap) {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 1<<16)
	// IPv6 only: what else there is on a line without link layer is not asked for.
	header := []byte{12: unix.ETH_P_IPV6 >> 8, 13: unix.ETH_P_IPV6 & 0xff}
	control := make([]byte, 128)
	for {
		var n, cn int
		var from unix.Sockaddr
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			n, cn, _, from, readErr = unix.Recvmsg(int(fd), buf, control, 0)
			return readErr != unix.EAGAIN
		})
		if err != nil {
			return
		}
		if readErr != nil { // ENETDOWN and the like: the interface may come back
			continue
		}
		f := Frame{Interface: t.index, At: KernelTime(control[:cn])}
		if t.bare {
			f.Octets = append(f.Octets, header...)
		}
		f.Octets = append(f.Octets, buf[:n]...)
		if sll, ok := from.(*unix.SockaddrLinklayer); ok {
			f.Outgoing = sll.Pkttype == unix.PACKET_OUTGOING
		}
		r.mu.Lock()
		r.frames = append(r.frames, f)
		r.mu.Unlock()
	}
}

// KernelTime finds in a message's control data when the kernel received it, for a socket with SO_TIMESTAMPNS; now if it does
// not say.
func KernelTime(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
				ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
				return time.Unix(ts.Unix())
			}
		}
	}
	return time.Now()
}

// Interfaces lists what is recorded; a Frame's Interface is an index into it.
func (r *Recorder) Interfaces() []Interface { return r.interfaces }

// Frames gives what was recorded so far, in the order of time.
func (r *Recorder) Frames() []Frame {
	r.mu.Lock()
	frames := slices.Clone(r.frames)
	r.mu.Unlock()
	slices.SortStableFunc(frames, func(a, b Frame) int { return a.At.Compare(b.At) })
	return frames
}

// Close ends the recording. It gives how many frames the kernel had to drop.
func (r *Recorder) Close() (dropped uint64) {
	if r.closed {
		return r.dropped
	}
	r.closed = true
	for _, t := range r.taps {
		if raw, err := t.file.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				if stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
					r.dropped += uint64(stats.Drops)
				}
			})
		}
		t.file.Close()
	}
	r.readers.Wait()
	return r.dropped
}
