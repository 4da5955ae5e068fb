package station

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

var _ Interface = (*Station)(nil)

// Station is the Interface over the kernel.
type Station struct {
	conn    *netlink.Conn // requests
	events  *netlink.Conn // notifications
	changes chan Change
	reader  sync.WaitGroup
	sysctls *sysctls

	mu        sync.Mutex // guards what follows
	link      Link
	addresses map[netip.Addr]bool // of ours; true: ready was told
	router    netip.Addr
	closed    bool
}

// Open takes over the interface: the kernel no more takes addresses and routes from router advertisements there. It needs
// CAP_NET_ADMIN.
func Open(name string) (*Station, error) {
	s := &Station{changes: make(chan Change, 64), addresses: make(map[netip.Addr]bool)}
	var err error
	if s.conn, err = netlink.Dial(unix.NETLINK_ROUTE, nil); err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	fail := func(err error) (*Station, error) {
		s.conn.Close()
		return nil, err
	}
	if s.link, err = s.findLink(name); err != nil {
		return fail(err)
	}
	if s.sysctls, err = takeOver(name); err != nil {
		return fail(err)
	}
	if err = s.flushLearned(); err != nil {
		return fail(errors.Join(err, s.sysctls.Restore()))
	}
	s.events, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV6_IFADDR})
	if err != nil {
		return fail(errors.Join(fmt.Errorf("listen for changes of links: %w", err), s.sysctls.Restore()))
	}
	s.reader.Go(s.listen)
	return s, nil
}

// Link implements Interface.
func (s *Station) Link() Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// Changes implements Interface.
func (s *Station) Changes() <-chan Change { return s.changes }

// Optimistic implements Interface.
func (s *Station) Optimistic() bool { return s.sysctls.optimistic }

// SetAddress implements Interface.
func (s *Station) SetAddress(addr netip.Addr) error {
	if !ipv6.IsRoutableUnicast(addr) {
		return fmt.Errorf("set address %v: not a global unicast address", addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addresses[addr] {
		s.tell(Change{Kind: AddressReady, Addr: addr})
		return nil
	}
	flags := uint32(0)
	if s.sysctls.optimistic {
		flags |= unix.IFA_F_OPTIMISTIC
	}
	s.addresses[addr] = false // before the request: its notification may come first
	err := s.request(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, addressHeader(s.link.Index), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, addr.AsSlice())
		ae.Bytes(unix.IFA_ADDRESS, addr.AsSlice())
		ae.Uint32(unix.IFA_FLAGS, flags)
	})
	if err != nil {
		delete(s.addresses, addr)
		return fmt.Errorf("give %s the address %v: %w", s.link.Name, addr, err)
	}
	if s.sysctls.optimistic {
		s.ready(addr) // the kernel has acknowledged it: no need to wait for what it notifies of
	}
	return nil
}

// ready tells once that an address of ours can be used. The lock is held.
func (s *Station) ready(addr netip.Addr) {
	if told, ours := s.addresses[addr]; ours && !told {
		s.addresses[addr] = true
		s.tell(Change{Kind: AddressReady, Addr: addr})
	}
}

// RemoveAddress implements Interface.
func (s *Station) RemoveAddress(addr netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removeAddress(addr)
}

func (s *Station) removeAddress(addr netip.Addr) error {
	delete(s.addresses, addr)
	err := s.request(unix.RTM_DELADDR, 0, addressHeader(s.link.Index), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, addr.AsSlice())
	})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("take the address %v off %s: %w", addr, s.link.Name, err)
	}
	return nil
}

// SetRouter implements Interface.
func (s *Station) SetRouter(router netip.Addr, hw ipv6.LinkAddr, lifetime time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lifetime <= 0 {
		if s.router != router {
			return nil
		}
		return s.removeRouter()
	}
	if hw.IsUnicast() {
		// The advertisement has told it: to ask for it would cost the first packets a round trip.
		if err := s.setNeighbour(router, hw); err != nil {
			return err
		}
	}
	seconds := uint32(min(lifetime/time.Second, 0xffff))
	err := s.request(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, routeHeader(), func(ae *netlink.AttributeEncoder) {
		s.routeAttributes(ae, router)
		ae.Uint32(unix.RTA_EXPIRES, max(seconds, 1))
	})
	if err != nil {
		return fmt.Errorf("make %v the default router on %s: %w", router, s.link.Name, err)
	}
	s.router = router
	return nil
}

func (s *Station) removeRouter() error {
	if !s.router.IsValid() {
		return nil
	}
	router := s.router
	s.router = netip.Addr{}
	err := s.request(unix.RTM_DELROUTE, 0, routeHeader(), func(ae *netlink.AttributeEncoder) { s.routeAttributes(ae, router) })
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the default router %v of %s: %w", router, s.link.Name, err)
	}
	return nil
}

// Close implements Interface.
func (s *Station) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var errs []error
	for addr := range s.addresses {
		errs = append(errs, s.removeAddress(addr))
	}
	errs = append(errs, s.removeRouter())
	s.mu.Unlock()
	errs = append(errs, s.sysctls.Restore())
	s.events.Close()
	s.reader.Wait()
	errs = append(errs, s.conn.Close())
	return errors.Join(errs...)
}

// tell never waits: who does not listen any more misses nothing.
func (s *Station) tell(c Change) {
	c.At = time.Now()
	select {
	case s.changes <- c:
	default:
	}
}

// findLink looks up an interface by name.
func (s *Station) findLink(name string) (Link, error) {
	replies, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), encode(func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) })...),
	})
	if errors.Is(err, unix.ENODEV) {
		return Link{}, fmt.Errorf("there is no interface %q: name one that exists", name)
	}
	if err != nil {
		return Link{}, fmt.Errorf("find interface %s: %w", name, err)
	}
	for _, m := range replies {
		if l, ok := decodeLink(m.Data); ok && l.Name == name {
			return l, nil
		}
	}
	return Link{}, fmt.Errorf("find interface %s: %w", name, os.ErrNotExist)
}
