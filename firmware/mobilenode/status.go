package mobilenode

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
)

// Status is what a node shows of itself. It holds no key.
type Status struct {
	Interface   string            `json:"interface"`
	Attached    bool              `json:"attached"`
	Optimistic  bool              `json:"optimistic"` // new addresses are used during Duplicate Address Detection
	CareOf      netip.Addr        `json:"careof,omitzero"`
	Usable      bool              `json:"usable"`
	Router      netip.Addr        `json:"router,omitzero"`
	KeyExchange bool              `json:"key_exchange"` // the router speaks LKE
	HomeBound   bool              `json:"home_bound"`
	Keys        []Key             `json:"keys"`
	Tunnel      forward.Info      `json:"tunnel"`
	Counters    map[string]uint64 `json:"counters"` // those that are not zero
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
	state := n.core.State()
	now := n.parts.Clock()
	s := Status{
		Interface: n.cfg.Interface, Attached: state.Attached && n.parts.Station.Link().Up,
		Optimistic: n.parts.Station.Optimistic(),
		CareOf:     state.CareOf, Usable: state.Usable, Router: state.Router, KeyExchange: state.RouterKeyExchange,
		HomeBound: state.HomeBound, Tunnel: n.parts.Tunnel.Describe(), Keys: []Key{}, Counters: map[string]uint64{},
	}
	for _, a := range state.Associations {
		s.Keys = append(s.Keys, Key{
			Home: a.Home, Router: a.Router, State: a.State, CareOf: a.CareOf, Seconds: int(a.Expires.Sub(now) / time.Second),
		})
	}
	count := func(prefix string) func(string, uint64) {
		return func(name string, value uint64) {
			if value != 0 {
				s.Counters[prefix+name] = value
			}
		}
	}
	n.core.Counters(count(""))
	n.parts.Conn.Counters(count("rawip_"))
	n.parts.Tunnel.Counters(count("tunnel_"))
	if n.parts.Guard != nil {
		n.parts.Guard.Counters(count("guard_"))
	}
	return s
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
		speaks := "does not speak LKE"
		if s.KeyExchange {
			speaks = "speaks LKE"
		}
		fmt.Fprintf(&b, "  router %v, which %s\n", s.Router, speaks)
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
