package mobilenode

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/roamkey/roamkey/drivers/forward"
)

// Status is what a node shows of itself. It holds no key.
type Status struct {
	Interface   string     `json:"interface"`
	Protocol    Protocol   `json:"protocol"`
	Attached    bool       `json:"attached"`
	Optimistic  bool       `json:"optimistic"` // new addresses are used during Duplicate Address Detection
	CareOf      netip.Addr `json:"careof,omitzero"`
	Usable      bool       `json:"usable"`
	Router      netip.Addr `json:"router,omitzero"`
	KeyExchange bool       `json:"key_exchange"` // the router speaks LKE
	HomeBound   bool       `json:"home_bound"`

	// What follows down to Next is of the protocol HandoverKey.
	Secured      bool       `json:"secured"`                // the router speaks SEND
	HandoverKey  bool       `json:"handover_key"`           // there is a handover key of it
	AccessPoints int        `json:"access_points"`          // whose routers are known
	Prepared     string     `json:"prepared,omitempty"`     // a move: "asking", "updating" or "ready" (to leave)
	Target       string     `json:"access_point,omitempty"` // where to
	Next         netip.Addr `json:"next_careof,omitzero"`   // and the address there

	Keys     []Key             `json:"keys"`
	Tunnel   forward.Info      `json:"tunnel"`
	Counters map[string]uint64 `json:"counters"` // those that are not zero
}

// Key is one association with a router.
type Key struct {
	Home    netip.Addr `json:"home"`
	Router  netip.Addr `json:"router"`
	State   string     `json:"state"`
	CareOf  netip.Addr `json:"careof,omitzero"`
	Seconds int        `json:"seconds"` // left
}

// status is called in the loop.
func (n *Node) status() Status {
	now := n.parts.Clock()
	s := Status{
		Interface: n.cfg.Interface, Protocol: n.cfg.Protocol, Attached: n.parts.Station.Link().Up,
		Optimistic: n.parts.Station.Optimistic(), Tunnel: n.parts.Tunnel.Describe(), Keys: []Key{}, Counters: map[string]uint64{},
	}
	if s.Protocol == "" {
		s.Protocol = LKE
	}
	n.side.fill(&s, now)
	count := func(prefix string) func(string, uint64) {
		return func(name string, value uint64) {
			if value != 0 {
				s.Counters[prefix+name] = value
			}
		}
	}
	n.side.count(count(""))
	n.parts.Conn.Counters(count("rawip_"))
	n.parts.Tunnel.Counters(count("tunnel_"))
	if n.parts.Guard != nil {
		n.parts.Guard.Counters(count("guard_"))
	}
	return s
}

// speaks says what the router does.
func (s Status) speaks() string {
	switch {
	case s.Protocol == HandoverKey && !s.Secured:
		return "does not sign"
	case s.Protocol == HandoverKey && s.HandoverKey:
		return "gave a handover key"
	case s.Protocol == HandoverKey:
		return "gave no handover key yet"
	case s.KeyExchange:
		return "speaks LKE"
	}
	return "does not speak LKE"
}

// String is the status for people.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", s.Interface)
	switch {
	case !s.Attached:
		b.WriteString("the link is down\n")
	case !s.CareOf.IsValid():
		b.WriteString("no router heard yet\n")
	default:
		fmt.Fprintf(&b, "at %v\n", s.CareOf)
		fmt.Fprintf(&b, "  router %v, which %s\n", s.Router, s.speaks())
	}
	if s.Prepared != "" {
		fmt.Fprintf(&b, "  a move to access point %s: %s\n", s.Target, s.Prepared)
	}
	if s.HomeBound {
		b.WriteString("  the home agent knows this address\n")
	}
	for _, k := range s.Keys {
		fmt.Fprintf(&b, "  key with %v: %s, %d s left\n    for %v\n", k.Router, k.State, k.Seconds, k.Home)
		if k.CareOf.IsValid() {
			fmt.Fprintf(&b, "    forwarded to %v\n", k.CareOf)
		}
	}
	fmt.Fprintf(&b, "  tunnels by %s\n", s.Tunnel.Backend)
	return b.String()
}
