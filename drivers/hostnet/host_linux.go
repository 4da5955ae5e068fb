package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

const (
	// eventBuffer is the receive buffer of a notification socket in octets: some thousand notifications.
	eventBuffer = 1 << 20

	// pause is how long to rest before the mirror is read again after that failed.
	pause = time.Second

	// attempts is how often a dump is begun again that a change interrupted. The notifications that follow set right what
	// the last one got wrong.
	attempts = 3

	// maxDrain is more notifications than fit into any buffer.
	maxDrain = 1 << 17
)

var _ View = (*Host)(nil)

// Host is the View of the kernel.
type Host struct {
	route   *source
	xfrm    *source // nil where the kernel has no XFRM
	changes chan struct{}
	done    chan struct{}
	loops   sync.WaitGroup
	once    sync.Once

	mu     sync.RWMutex
	mirror *mirror

	events, resyncs, failures atomic.Uint64
}

// source is one netlink family: a socket on which notifications come, and one to ask for the whole. Both are opened at
// once, so that both are in the network namespace of the opener.
type source struct {
	events, dump *netlink.Conn
	mu           sync.Mutex // one request at a time on dump
}

// Open reads the state of the network namespace of the calling thread, and follows it from then on.
func Open() (*Host, error) { return open(eventBuffer) }

func open(buffer int) (*Host, error) {
	h := &Host{changes: make(chan struct{}, 1), done: make(chan struct{}), mirror: newMirror()}
	var err error
	h.route, err = openSource(unix.NETLINK_ROUTE, buffer, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_NETCONF, unix.RTNLGRP_NEIGH)
	if err != nil {
		return nil, fmt.Errorf("follow links and addresses by rtnetlink: %w", err)
	}
	h.xfrm, err = openSource(unix.NETLINK_XFRM, buffer, xfrmGroupSA, xfrmGroupExpire, xfrmGroupPolicy)
	if err != nil && !errors.Is(err, unix.EPROTONOSUPPORT) {
		h.Close()
		return nil, fmt.Errorf("follow IPsec security associations and policies (needs CAP_NET_ADMIN): %w", err)
	}
	// Notifications queue up from here on, so that none is missed between the dump and the first one that is read.
	if err = h.readRoute(); err == nil {
		err = h.readXFRM()
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	h.loops.Go(func() { h.follow(h.route, h.applyRoute, h.readRoute) })
	if h.xfrm != nil {
		h.loops.Go(func() { h.follow(h.xfrm, h.applyXFRM, h.readXFRM) })
	}
	return h, nil
}

func openSource(family, buffer int, groups ...uint32) (*source, error) {
	var s source
	var err error
	if s.events, err = netlink.Dial(family, nil); err != nil {
		return nil, err
	}
	if s.dump, err = netlink.Dial(family, nil); err != nil {
		s.events.Close()
		return nil, err
	}
	// The kernel bounds the buffer; less than was asked for costs a resync at the worst.
	_ = s.events.SetReadBuffer(buffer)
	for _, g := range groups {
		if err := s.events.JoinGroup(g); err != nil {
			s.close()
			return nil, err
		}
	}
	return &s, nil
}

func (s *source) close() {
	s.events.Close()
	s.dump.Close()
}

// request asks for a whole table.
func (s *source) request(kind netlink.HeaderType, body []byte) ([]netlink.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var messages []netlink.Message
	for range attempts {
		var err error
		messages, err = s.dump.Execute(netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Dump},
			Data:   body,
		})
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(messages, func(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 }) {
			break
		}
	}
	return messages, nil
}

// drain throws away what waits on the notification socket. After a loss the kernel silently drops all further notifications
// until the queue has been empty once: a mirror that was read before that could stay wrong.
func (s *source) drain() {
	raw, err := s.events.SyscallConn()
	if err != nil {
		return
	}
	var buf [64]byte // the rest of a message is thrown away with it
	_ = raw.Control(func(fd uintptr) {
		for range maxDrain {
			if _, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT); errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBADF) {
				return
			}
		}
	})
}

// follow applies notifications until the socket is closed, and reads all anew when some were lost.
func (h *Host) follow(s *source, apply func([]netlink.Message) (lost bool), read func() error) {
	for {
		messages, err := s.events.Receive()
		select {
		case <-h.done:
			return
		default:
		}
		if err == nil && !apply(messages) {
			continue
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			h.failures.Add(1)
			h.rest()
		}
		h.resyncs.Add(1)
		for s.drain(); read() != nil; s.drain() {
			h.failures.Add(1)
			if !h.rest() {
				return
			}
		}
	}
}

// rest waits a moment; it reports false when the host is closed.
func (h *Host) rest() bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-h.done:
		return false
	case <-t.C:
		return true
	}
}

func (h *Host) applyRoute(messages []netlink.Message) (lost bool) {
	h.events.Add(uint64(len(messages)))
	now, changed := time.Now(), false
	h.mu.Lock()
	for _, m := range messages {
		changed = h.mirror.apply(now, m) || changed
	}
	h.mu.Unlock()
	if changed {
		h.changed()
	}
	return false
}

// applyXFRM asks for a fresh start after a flush, and where the mirror was too small for all.
func (h *Host) applyXFRM(messages []netlink.Message) (lost bool) {
	h.events.Add(uint64(len(messages)))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range messages {
		if m.Header.Type == xfrmFlushSA || m.Header.Type == xfrmFlushPolicy {
			return true
		}
		h.mirror.applyXFRM(m)
	}
	return h.mirror.saOverflow && len(h.mirror.sas) < maxAssociations/2 ||
		h.mirror.policyOverflow && len(h.mirror.policies) < maxPolicies/2
}

func (h *Host) changed() {
	select {
	case h.changes <- struct{}{}:
	default:
	}
}

// readRoute reads links, addresses and neighbours.
func (h *Host) readRoute() error {
	fresh := newMirror()
	now := time.Now()
	for _, table := range []struct {
		what string
		kind netlink.HeaderType
		body []byte
	}{
		{"links", unix.RTM_GETLINK, make([]byte, linkHead)},
		{"addresses", unix.RTM_GETADDR, ofFamily(unix.AF_INET6, addressHead)},
		{"neighbours", unix.RTM_GETNEIGH, ofFamily(unix.AF_INET6, neighbourHead)},
	} {
		messages, err := h.route.request(table.kind, table.body)
		if err != nil {
			return fmt.Errorf("read the kernel's %s: %w", table.what, err)
		}
		for _, m := range messages {
			fresh.apply(now, m)
		}
	}
	h.mu.Lock()
	h.mirror.links, h.mirror.neighbours = fresh.links, fresh.neighbours
	h.mirror.neighbourOverflow += fresh.neighbourOverflow
	h.mu.Unlock()
	h.changed()
	return nil
}

func ofFamily(family uint8, length int) []byte {
	b := make([]byte, length)
	b[0] = family
	return b
}

// readXFRM reads the security associations and policies.
func (h *Host) readXFRM() error {
	if h.xfrm == nil {
		return nil
	}
	fresh := newMirror()
	for what, kind := range map[string]netlink.HeaderType{"security associations": xfrmGetSA, "policies": xfrmGetPolicy} {
		messages, err := h.xfrm.request(kind, nil)
		if err != nil {
			return fmt.Errorf("read the kernel's IPsec %s (needs CAP_NET_ADMIN): %w", what, err)
		}
		for _, m := range messages {
			fresh.applyXFRM(m)
		}
	}
	h.mu.Lock()
	h.mirror.sas, h.mirror.ends, h.mirror.saOverflow = fresh.sas, fresh.ends, fresh.saOverflow
	h.mirror.policies, h.mirror.policyOverflow = fresh.policies, fresh.policyOverflow
	h.mu.Unlock()
	return nil
}

// Links implements View.
func (h *Host) Links() []Link {
	now := time.Now()
	h.mu.RLock()
	defer h.mu.RUnlock()
	links := make([]Link, 0, len(h.mirror.links))
	for _, s := range h.mirror.links {
		links = append(links, s.view(now))
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	return links
}

// Link implements View.
func (h *Host) Link(name string) (Link, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s := h.mirror.byName(name); s != nil {
		return s.view(time.Now()), true
	}
	return Link{}, false
}

func (m *mirror) byName(name string) *linkState {
	for _, s := range m.links {
		if s.link.Name == name {
			return s
		}
	}
	return nil
}

// Neighbour implements View.
func (h *Host) Neighbour(link int, addr netip.Addr) ipv6.LinkAddr {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.mirror.neighbours[neighbourKey{link, addr.WithZone("")}]
}

// HasSA implements View. Where there are more security associations than can be kept (16,384), it says yes of every
// address: to refuse a node is safe.
func (h *Host) HasSA(addr netip.Addr) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.mirror.saOverflow || h.mirror.ends[addr.WithZone("")] > 0
}

// Covers implements View. Where there are more policies than can be kept (4,096 of those that could matter), it says no of
// all addresses: to promise protection that is not there would not be safe.
func (h *Host) Covers(local, peer netip.Addr) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.mirror.covers(local.WithZone(""), peer.WithZone(""))
}

// Routes implements View.
func (h *Host) Routes() ([]Route, error) {
	messages, err := h.route.request(unix.RTM_GETROUTE, ofFamily(unix.AF_INET6, routeHead))
	if err != nil {
		return nil, fmt.Errorf("read the kernel's routes: %w", err)
	}
	var routes []Route
	for _, m := range messages {
		if r, ok := decodeRoute(m.Data); ok && r.Table != unix.RT_TABLE_LOCAL {
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// Changes implements View.
func (h *Host) Changes() <-chan struct{} { return h.changes }

// Counters implements View.
func (h *Host) Counters(yield func(name string, value uint64)) {
	h.mu.RLock()
	neighbours, overflow, sas := len(h.mirror.neighbours), h.mirror.neighbourOverflow, len(h.mirror.sas)
	policies := len(h.mirror.policies)
	h.mu.RUnlock()
	yield("netlink_events", h.events.Load())
	yield("netlink_resyncs", h.resyncs.Load())
	yield("netlink_errors", h.failures.Load())
	yield("neighbours", uint64(neighbours))
	yield("drop_neighbours_full", overflow)
	yield("ipsec_associations", uint64(sas))
	yield("ipsec_policies", uint64(policies))
}

// Close ends the mirrors.
func (h *Host) Close() error {
	h.once.Do(func() {
		close(h.done)
		h.route.close()
		if h.xfrm != nil {
			h.xfrm.close()
		}
		h.loops.Wait()
	})
	return nil
}
