package mobilenode

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// detectInterval is the time between solicitations of Detect, and detectTries how many there are. A router answers within
// half a second (RFC 4861 section 6.2.6).
const (
	detectInterval = 700 * time.Millisecond
	detectTries    = 3
)

// Found is what Detect finds out about a link.
type Found struct {
	Interface   string         `json:"interface"`
	Router      netip.Addr     `json:"router"`
	Prefixes    []netip.Prefix `json:"prefixes"`
	KeyExchange bool           `json:"key_exchange"` // the router speaks LKE
	KeyBits     int            `json:"key_bits,omitempty"`
	// Address is an address of the interface in one of the prefixes; the zero Addr: the interface is new on this link.
	Address netip.Addr `json:"address,omitzero"`
}

// String is for people.
func (f Found) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: router %v\n", f.Interface, f.Router)
	for _, p := range f.Prefixes {
		fmt.Fprintf(&b, "  prefix %v\n", p)
	}
	if f.KeyExchange {
		fmt.Fprintf(&b, "  speaks LKE, RSA key of %d bits\n", f.KeyBits)
	} else {
		b.WriteString("  does not speak LKE\n")
	}
	if f.Address.IsValid() {
		fmt.Fprintf(&b, "  the interface has an address here: %v\n", f.Address)
	} else {
		b.WriteString("  the interface has no address here: it has moved\n")
	}
	return b.String()
}

// Detect asks once for the router of a link and tells whether the interface belongs there. It changes nothing. It needs
// CAP_NET_RAW.
func Detect(ctx context.Context, name string) (Found, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return Found{}, fmt.Errorf("there is no interface %q: name one that exists", name)
	}
	var hw ipv6.LinkAddr
	if copy(hw[:], device.HardwareAddr) != len(hw) {
		return Found{}, fmt.Errorf("%s has no Ethernet address", name)
	}
	conn, err := rawip.Open(rawip.Config{Links: []rawip.Link{{Index: device.Index, Name: name, Hardware: hw}}})
	if err != nil {
		return Found{}, err
	}
	defer conn.Close()
	var own []netip.Addr
	addrs, err := device.Addrs()
	if err != nil {
		return Found{}, fmt.Errorf("addresses of %s: %w", name, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() {
			own = append(own, p.Addr())
		}
	}
	src, dst := ipv6.LinkLocalFrom(hw), ipv6.AllRouters()
	solicit := ndp.AppendRouterSolicit(nil, src, dst, ndp.SourceLinkOption(hw))
	packet := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, solicit)
	for range detectTries {
		if err := conn.SendLink(device.Index, ipv6.MulticastLinkAddr(dst), packet); err != nil {
			return Found{}, err
		}
		retry := time.After(detectInterval)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return Found{}, ctx.Err()
			case <-retry:
				waiting = false
			case r := <-conn.Packets():
				f, ok := readAdvert(&r.Packet, own)
				r.Release()
				if ok {
					f.Interface = name
					return f, nil
				}
			}
		}
	}
	return Found{}, fmt.Errorf("no router answered on %s: is the link up?", name)
}

// readAdvert reads what Detect wants to know of an advertisement.
func readAdvert(p *ipv6.Packet, own []netip.Addr) (Found, bool) {
	ra, reason := ndp.ParseRouterAdvert(p)
	if reason != ndp.ReasonNone || ra.Lifetime == 0 {
		return Found{}, false
	}
	f := Found{Router: p.Src}
	prefixes := ra.Prefixes()
	for prefix, ok := prefixes.Next(); ok; prefix, ok = prefixes.Next() {
		f.Prefixes = append(f.Prefixes, prefix.Prefix)
		for _, a := range own {
			if prefix.Prefix.Contains(a) {
				f.Address = a
			}
		}
	}
	points := ndp.DefaultCodePoints()
	for o, ok := ra.Options.Next(); ok && ra.HomeAgent; o, ok = ra.Options.Next() {
		if o.Type != points.Capability {
			continue
		}
		if c, err := ndp.ParseCapability(o); err == nil {
			if key, _, err := ndp.ParseSPKI(c.PublicKey); err == nil {
				f.KeyExchange, f.KeyBits = true, key.Bits()
			}
		}
	}
	return f, true
}
