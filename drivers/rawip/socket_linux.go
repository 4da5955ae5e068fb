package rawip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

const (
	defaultQueue          = 256
	defaultUrgentQueue    = 128
	defaultProtectedQueue = 64

	// receiveBuffer is what the kernel keeps of a burst for one socket, in octets as it counts them: some 100 packets.
	receiveBuffer = 256 << 10
)

var _ Conn = (*Socket)(nil)

// Socket is the Conn over the kernel's packet sockets.
type Socket struct {
	counters  counters
	pool      *pool
	packets   chan *Received
	urgent    chan *Received
	protected chan *Received

	urgentReader *reader
	routed       *routedSender
	ipsec        *protected
	readers      sync.WaitGroup

	mu     sync.Mutex // guards what follows
	ports  map[int]*port
	watch  watcher
	closed bool
}

// port is one served link.
type port struct {
	link   Link
	file   *os.File
	reader *reader
	sender *linkSender
}

// Open opens the sockets. It needs CAP_NET_RAW.
func Open(cfg Config) (*Socket, error) {
	s, err := open(cfg)
	if err != nil {
		return nil, err
	}
	s.readers.Go(s.urgentReader.run)
	s.readers.Go(s.ipsec.run)
	return s, nil
}

// open does all but start the readers of the sockets for all interfaces.
func open(cfg Config) (*Socket, error) {
	if cfg.Queue <= 0 {
		cfg.Queue = defaultQueue
	}
	if cfg.UrgentQueue <= 0 {
		cfg.UrgentQueue = defaultUrgentQueue
	}
	if cfg.ProtectedQueue <= 0 {
		cfg.ProtectedQueue = defaultProtectedQueue
	}
	s := &Socket{
		pool:      newPool(2 * (cfg.Queue + cfg.UrgentQueue + cfg.ProtectedQueue)),
		packets:   make(chan *Received, cfg.Queue),
		urgent:    make(chan *Received, cfg.UrgentQueue),
		protected: make(chan *Received, cfg.ProtectedQueue),
		ports:     make(map[int]*port),
	}
	if err := s.openUrgent(); err != nil {
		return nil, err
	}
	var err error
	if s.routed, err = newRoutedSender(&s.counters); err != nil {
		s.Close()
		return nil, err
	}
	if s.ipsec, err = newProtected(s); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.SetLinks(cfg.Links); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Socket) openUrgent() error {
	program, err := urgentFilter()
	if err != nil {
		return fmt.Errorf("assemble the filter for mobility headers: %w", err)
	}
	file, err := packetSocket(unix.SOCK_DGRAM, 0, program)
	if err != nil {
		return fmt.Errorf("open the packet socket for mobility headers: %w", err)
	}
	s.urgentReader, err = newReader(s, file, Urgent)
	if err != nil {
		file.Close()
		return err
	}
	return nil
}

// packetSocket opens a packet socket for IPv6 on one interface (0: on all). It is bound last, so that no packet gets past
// the filter.
func packetSocket(kind, index int, program []bpf.RawInstruction) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("%w: it needs CAP_NET_RAW", err)
		}
		return nil, err
	}
	err = func() error {
		filter := make([]unix.SockFilter, len(program))
		for i, in := range program {
			filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
		}
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
			return fmt.Errorf("attach the filter: %w", err)
		}
		// Without the privilege to go beyond it, rmem_max bounds the buffer: that will do.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
				return fmt.Errorf("set the receive buffer: %w", err)
			}
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IPV6), Ifindex: index})
	}()
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

// networkOrder gives v as the kernel wants it in a sockaddr_ll.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)})
}

// SetLinks implements Conn.
func (s *Socket) SetLinks(links []Link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	wanted := make(map[int]Link, len(links))
	for _, l := range links {
		wanted[l.Index] = l
	}
	for index, p := range s.ports {
		l, keep := wanted[index]
		if !keep {
			s.closePort(p)
			continue
		}
		p.link = l
		p.sender.setSource(l.Hardware)
	}
	var errs []error
	for _, l := range links {
		if s.ports[l.Index] == nil {
			if err := s.openPort(l); err != nil {
				errs = append(errs, fmt.Errorf("serve link %s: %w", l.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Socket) openPort(l Link) error {
	if l.Index <= 0 {
		return fmt.Errorf("there is no interface of this name (index %d)", l.Index)
	}
	program, err := linkFilter(l.Index)
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	file, err := packetSocket(unix.SOCK_RAW, l.Index, program)
	if err != nil {
		return err
	}
	p := &port{link: l, file: file}
	if p.sender, err = newLinkSender(&s.counters, file, l.Hardware); err == nil {
		p.reader, err = newReader(s, file, OnLink)
	}
	if err != nil {
		file.Close()
		return err
	}
	s.ports[l.Index] = p
	s.readers.Go(p.reader.run)
	return nil
}

// closePort ends the link's reader, too: it finds its file closed.
func (s *Socket) closePort(p *port) {
	s.watch.forget(&s.counters, p.link.Index)
	p.reader.addKernelDrops()
	p.file.Close()
	delete(s.ports, p.link.Index)
}

// Urgent implements Conn.
func (s *Socket) Urgent() <-chan *Received { return s.urgent }

// Packets implements Conn.
func (s *Socket) Packets() <-chan *Received { return s.packets }

// Protected implements Conn.
func (s *Socket) Protected() <-chan *Received { return s.protected }

// SendProtected implements Conn.
func (s *Socket) SendProtected(src, dst netip.Addr, mh []byte) error {
	return s.ipsec.send(src, dst, mh)
}

// SendLink implements Conn.
func (s *Socket) SendLink(link int, dst ipv6.LinkAddr, packet []byte) error {
	s.mu.Lock()
	p := s.ports[link]
	s.mu.Unlock()
	if p == nil {
		s.counters.sendErrors.Add(1)
		return fmt.Errorf("send on interface %d: it is not a served link", link)
	}
	return p.sender.send(dst, packet)
}

// SendRouted implements Conn.
func (s *Socket) SendRouted(packet []byte) error { return s.routed.send(packet) }

// Watch implements Conn.
func (s *Socket) Watch(link int, addr netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ports[link]
	if p == nil {
		return fmt.Errorf("watch %v on interface %d: it is not a served link", addr, link)
	}
	return s.watch.add(&s.counters, p, addr)
}

// Unwatch implements Conn.
func (s *Socket) Unwatch(link int, addr netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ports[link]
	if p == nil {
		return nil // forgotten with its link
	}
	return s.watch.remove(&s.counters, p, addr)
}

// Counters implements Conn.
func (s *Socket) Counters(yield func(name string, value uint64)) {
	s.mu.Lock()
	if !s.closed {
		s.urgentReader.addKernelDrops()
		for _, p := range s.ports {
			p.reader.addKernelDrops()
		}
	}
	s.mu.Unlock()
	s.counters.yield(yield)
}

// Close ends the readers and closes the sockets. The channels stay open, and may still hold packets.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, p := range s.ports {
		s.closePort(p)
	}
	s.watch.close()
	s.urgentReader.file.Close()
	if s.routed != nil {
		s.routed.close()
	}
	if s.ipsec != nil {
		s.ipsec.close()
	}
	s.mu.Unlock()
	s.readers.Wait()
	return nil
}
