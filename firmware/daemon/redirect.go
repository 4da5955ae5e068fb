package daemon

import (
	"net/netip"
	"slices"

	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
	"github.com/roamkey/roamkey/ndp/send"
)

// leastMTU is what every link carries, and the most that a redirect may have (RFC 4861 section 4.5).
const leastMTU = 1280

// redirect says what the kernel wanted to say unsigned: that a host has a better next hop than this router. Hosts take it from
// the address that they have the router's advertisements from (RFC 4861 section 8.1), which is the link-local one that signs.
func (d *Daemon) redirect(r guard.Redirect) {
	l := d.byIndex[r.Link]
	if l == nil || l.secured == nil || l.served.Index == 0 {
		d.counters.unserved++
		return
	}
	p := ipv6.Packet{Interface: r.Link}
	if ipv6.Parse(r.Packet, &p) != ipv6.OK || p.Proto != ipv6.ProtoICMPv6 || len(p.Payload) == 0 || p.Payload[0] != ndp.TypeRedirect {
		d.counters.redirectForm++
		return
	}
	m, reason := ndp.ParseRedirect(&p)
	ours := slices.ContainsFunc(l.host.Addresses, func(a hostnet.Address) bool { return a.Addr == p.Src })
	if reason != ndp.ReasonNone || !ours || p.Dst.IsMulticast() {
		d.counters.redirectForm++
		return
	}
	if !d.redirects.Take(d.now()) { // RFC 4861 section 8.2
		d.counters.redirectLimited++
		return
	}
	host, _ := l.secured.cache.Lookup(p.Dst)
	if host.Neighbour.IsZero() {
		// The kernel tries again while the host sends by way of us.
		d.counters.redirectUnresolved++
		d.stepCache(l, neighbor.Input{Kind: neighbor.InAsk, Addr: p.Dst, Missing: true})
		return
	}
	d.counters.redirects++
	d.say(l, host.Neighbour, l.composeRedirect(&m, p.Dst, len(d.identity.params.PublicKey), d.identity.modulusLen), nil, host.Neighbour)
}

// composeRedirect gives the redirect m as this router says it to dst, with as much of the packet that brought it about as
// leaves room for the signature.
func (l *link) composeRedirect(m *ndp.Redirect, dst netip.Addr, spkiLen, modulusLen int) []byte {
	var opts [][]byte
	room := leastMTU - ipv6.HeaderLen - redirectOctets - send.Overhead(spkiLen, modulusLen)
	// What we sign, hosts take for proved. Who has said unsigned where it is they ask themselves.
	if target, _ := l.secured.cache.Lookup(m.Target); target.Secured && !target.Neighbour.IsZero() {
		o := ndp.TargetLinkOption(target.Neighbour)
		opts, room = append(opts, o), room-len(o)
	}
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != ndp.OptRedirected {
			continue
		}
		if cut := min(len(o.Octets), room/8*8); cut > redirectedHead {
			quoted := slices.Clone(o.Octets[:cut])
			quoted[1] = byte(cut / 8)
			opts = append(opts, quoted)
		}
		break
	}
	icmp := ndp.AppendRedirect(nil, l.served.LinkLocal, dst, m.Target, m.Destination, opts...)
	return ipv6.Append(nil, ipv6.Header{Src: l.served.LinkLocal, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, icmp)
}

const (
	redirectOctets = 40 // of the fixed part (RFC 4861 section 4.5)
	redirectedHead = 8  // of the option, before the packet (section 4.6.3)
)
