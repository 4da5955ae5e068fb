package scenario

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/pcap"
)

// Sender sends packets at a constant rate.
type Sender struct {
	stop, done chan struct{}
	sent       []time.Time
	err        error
}

// StartSender begins to send rate packets a second from a namespace to an address.
func StartSender(ns *netlab.Namespace, to netip.Addr, rate int) (*Sender, error) {
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp6", "[::]:0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the correspondent's socket: %w", err)
	}
	s := &Sender{stop: make(chan struct{}), done: make(chan struct{})}
	go s.run(conn, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)), time.Second/time.Duration(rate))
	return s, nil
}

func (s *Sender) run(conn net.PacketConn, to net.Addr, interval time.Duration) {
	defer close(s.done)
	defer conn.Close()
	payload := make([]byte, payloadLen)
	copy(payload, payloadMagic)
	for next := time.Now(); ; next = next.Add(interval) {
		// Sleeping for what is left keeps the rate also where sleep is coarse: who is late sends at once.
		if wait := time.Until(next); wait > 0 {
			time.Sleep(wait)
		}
		select {
		case <-s.stop:
			return
		default:
		}
		now := time.Now()
		binary.BigEndian.PutUint64(payload[8:], uint64(len(s.sent)))
		binary.BigEndian.PutUint64(payload[16:], uint64(now.UnixNano()))
		_, err := conn.WriteTo(payload, to)
		// A router on the way may say that it cannot reach the node: that is a lost packet, not a failure.
		if err != nil && !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.ECONNREFUSED) {
			s.err = fmt.Errorf("send packet %d: %w", len(s.sent), err)
			return
		}
		s.sent = append(s.sent, now)
	}
}

// Stop ends the sending and gives the times of all packets.
func (s *Sender) Stop() ([]time.Time, error) {
	close(s.stop)
	<-s.done
	return s.sent, s.err
}

// Receiver counts what arrives in the node's namespace.
type Receiver struct {
	file   *os.File
	reader sync.WaitGroup

	mu       sync.Mutex
	arrivals []Arrival
}

// StartReceiver begins to receive in a namespace.
func StartReceiver(ns *netlab.Namespace) (*Receiver, error) {
	r := &Receiver{}
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20),
			unix.Bind(fd, &unix.SockaddrInet6{Port: port}),
		)
		if err != nil {
			unix.Close(fd)
			return err
		}
		r.file = os.NewFile(uintptr(fd), "receiver")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open the node's socket: %w", err)
	}
	r.reader.Go(r.run)
	return r, nil
}

func (r *Receiver) run() {
	raw, err := r.file.SyscallConn()
	if err != nil {
		return
	}
	buf, control := make([]byte, 2048), make([]byte, 256)
	for {
		var n, cn int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			n, cn, _, _, readErr = unix.Recvmsg(int(fd), buf, control, 0)
			return readErr != unix.EAGAIN
		})
		if err != nil {
			return // closed
		}
		if readErr != nil || n < 24 || string(buf[:4]) != payloadMagic {
			continue
		}
		r.mu.Lock()
		r.arrivals = append(r.arrivals, Arrival{Seq: binary.BigEndian.Uint64(buf[8:]), At: pcap.KernelTime(control[:cn])})
		r.mu.Unlock()
	}
}

// Arrivals gives what arrived so far.
func (r *Receiver) Arrivals() []Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Arrival(nil), r.arrivals...)
}

// Count is how many packets arrived so far.
func (r *Receiver) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.arrivals)
}

// Stop ends the receiving and gives what arrived.
func (r *Receiver) Stop() []Arrival {
	r.file.Close()
	r.reader.Wait()
	return r.Arrivals()
}
