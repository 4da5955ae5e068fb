package hostnet

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// Bounds of the mirrors. The kernel's own default for neighbours is 1024.
const (
	maxNeighbours   = 8192
	maxAssociations = 16384
	maxPolicies     = 4096
)

// mirror is what is known, in memory. It is not safe for concurrent use.
type mirror struct {
	links      map[int]*linkState
	neighbours map[neighbourKey]ipv6.LinkAddr
	sas        map[saKey]netip.Addr // to the source address
	ends       map[netip.Addr]int   // how many of sas have this end
	saOverflow bool                 // there are more than can be kept

	policies       []policy // in the order in which the kernel looks at them
	policyOverflow bool

	neighbourOverflow uint64
}

type linkState struct {
	link      Link // without addresses
	port      portFlags
	addresses []addressState
}

// addressState has the ends of the lifetimes rather than the lifetimes, which would go stale.
type addressState struct {
	address          Address
	valid, preferred time.Time // zero: forever
}

type neighbourKey struct {
	link int
	addr netip.Addr
}

func newMirror() *mirror {
	return &mirror{
		links: make(map[int]*linkState), neighbours: make(map[neighbourKey]ipv6.LinkAddr),
		sas: make(map[saKey]netip.Addr), ends: make(map[netip.Addr]int),
	}
}

// apply takes one rtnetlink message. It reports whether something about links or addresses changed.
func (m *mirror) apply(now time.Time, msg netlink.Message) (changed bool) {
	switch msg.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, ok := decodeLink(msg.Data); ok {
			return m.applyLink(l, msg.Header.Type == unix.RTM_DELLINK)
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if a, ok := decodeAddress(msg.Data); ok {
			return m.applyAddress(now, a, msg.Header.Type == unix.RTM_DELADDR)
		}
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if n, ok := decodeNeighbour(msg.Data); ok {
			m.applyNeighbour(n, msg.Header.Type == unix.RTM_DELNEIGH)
		}
	case unix.RTM_NEWNETCONF:
		return true // forwarding or proxy_ndp, which are read when they are asked for
	}
	return false
}

func (m *mirror) applyLink(l linkMessage, gone bool) bool {
	s := m.links[l.link.Index]
	switch {
	case l.bridgePort && s == nil:
		return false
	case l.bridgePort && gone:
		s.port, s.link.Master = portFlags{}, 0
		return true
	case l.bridgePort:
		changed := s.port != l.port
		s.port = l.port
		return changed
	case gone:
		delete(m.links, l.link.Index)
		for k := range m.neighbours {
			if k.link == l.link.Index {
				delete(m.neighbours, k)
			}
		}
		return s != nil
	case s == nil:
		s = &linkState{}
		m.links[l.link.Index] = s
	}
	if sameLink(s.link, l.link) && s.port == l.port {
		return false
	}
	s.link, s.port = l.link, l.port
	return true
}

// sameLink compares all but the addresses, which neither has here.
func sameLink(a, b Link) bool {
	return a.Index == b.Index && a.Name == b.Name && a.Hardware == b.Hardware && a.MTU == b.MTU && a.Up == b.Up &&
		a.Kind == b.Kind && a.Master == b.Master && a.Lower == b.Lower
}

func (m *mirror) applyAddress(now time.Time, a addressMessage, gone bool) bool {
	s := m.links[a.link]
	if s == nil {
		return false // a link that came and went
	}
	i := slices.IndexFunc(s.addresses, func(b addressState) bool { return b.address.Addr == a.address.Addr })
	if gone {
		if i < 0 {
			return false
		}
		s.addresses = slices.Delete(s.addresses, i, i+1)
		return true
	}
	state := addressState{address: a.address, valid: end(now, a.address.Valid), preferred: end(now, a.address.Preferred)}
	if i < 0 {
		s.addresses = append(s.addresses, state)
	} else {
		s.addresses[i] = state
	}
	return true
}

func end(now time.Time, d time.Duration) time.Time {
	if d == Forever {
		return time.Time{}
	}
	return now.Add(d)
}

func rest(now, end time.Time) time.Duration {
	if end.IsZero() {
		return Forever
	}
	return max(0, end.Sub(now))
}

func (m *mirror) applyNeighbour(n neighbourMessage, gone bool) {
	if gone || !n.usable {
		delete(m.neighbours, n.key)
		return
	}
	if _, known := m.neighbours[n.key]; !known && len(m.neighbours) >= maxNeighbours {
		m.neighbourOverflow++
		return
	}
	m.neighbours[n.key] = n.hardware
}

// applyXFRM takes one message of NETLINK_XFRM.
func (m *mirror) applyXFRM(msg netlink.Message) {
	switch msg.Header.Type {
	case xfrmNewSA, xfrmUpdSA:
		if a, ok := decodeSA(msg.Data); ok {
			m.addSA(a)
		}
	case xfrmDelSA:
		if k, ok := decodeSAID(msg.Data); ok {
			m.removeSA(k)
		}
	case xfrmExpire:
		if k, ok := decodeExpire(msg.Data); ok {
			m.removeSA(k)
		}
	case xfrmNewPolicy, xfrmUpdPolicy:
		m.addPolicy(msg.Data)
	case xfrmDelPolicy:
		if index, ok := decodePolicyID(msg.Data); ok {
			m.removePolicy(index)
		}
	case xfrmExpirePolicy:
		if index, ok := decodePolicyExpire(msg.Data); ok {
			m.removePolicy(index)
		}
	}
}

func (m *mirror) addSA(a association) {
	m.removeSA(a.key)
	if len(m.sas) >= maxAssociations {
		m.saOverflow = true
		return
	}
	m.sas[a.key] = a.src
	m.ends[a.key.dst]++
	m.ends[a.src]++
}

func (m *mirror) removeSA(k saKey) {
	src, ok := m.sas[k]
	if !ok {
		return
	}
	delete(m.sas, k)
	for _, addr := range [...]netip.Addr{k.dst, src} {
		if m.ends[addr]--; m.ends[addr] == 0 {
			delete(m.ends, addr)
		}
	}
}

// view gives a copy of one link with its addresses.
func (s *linkState) view(now time.Time) Link {
	l := s.link
	l.Addresses = make([]Address, len(s.addresses))
	for i, a := range s.addresses {
		l.Addresses[i] = a.address
		l.Addresses[i].Valid, l.Addresses[i].Preferred = rest(now, a.valid), rest(now, a.preferred)
	}
	return l
}

// ports gives the ports of a bridge in the order of their indexes.
func (m *mirror) ports(bridge int) []*linkState {
	var ports []*linkState
	for _, s := range m.links {
		if s.link.Master == bridge {
			ports = append(ports, s)
		}
	}
	slices.SortFunc(ports, func(a, b *linkState) int { return cmp.Compare(a.link.Index, b.link.Index) })
	return ports
}
