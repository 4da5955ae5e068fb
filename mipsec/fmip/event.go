package fmip

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// EventKind names what an operator wants to see.
type EventKind uint8

// Events of the router and of the node, in the order in which a handover meets them.
const (
	EventSolicited    EventKind = iota + 1 // RtSolPr taken (router) or sent (node)
	EventAdvertised                        // PrRtAdv sent (router) or taken (node)
	EventTriggered                         // unsolicited PrRtAdv sent (router) or taken (node)
	EventUpdated                           // Fast Binding Update taken (router) or sent (node)
	EventInitiated                         // Handover Initiate sent (PAR) or taken (NAR)
	EventHandoverAck                       // Handover Acknowledge taken (PAR) or sent (NAR)
	EventBound                             // the address is forwarded (router), FBack taken (node)
	EventRefused                           // a Fast Binding Update or an HI was refused: Detail says why
	EventHeld                              // packets are kept for the node
	EventDrained                           // what was kept is on its way
	EventAnnounced                         // UNA taken (NAR) or sent (node)
	EventConflict                          // the new care-of address is someone else's
	EventReturned                          // the node came back (lifetime 0)
	EventUnbound                           // the forwarding ended: Detail says why
	EventExpired                           // what was prepared for a node has run out
	EventPeerRefused                       // a message of a neighbouring router was not taken: Detail says why
	EventPeerAdjusted                      // our numbers towards a neighbouring router were put forward
)

var eventNames = [...]string{
	EventSolicited: "proxy-solicit", EventAdvertised: "proxy-advert", EventTriggered: "handover-trigger",
	EventUpdated: "fast-update", EventInitiated: "handover-initiate", EventHandoverAck: "handover-ack",
	EventBound: "fast-bound", EventRefused: "fast-refused", EventHeld: "held", EventDrained: "drained",
	EventAnnounced: "announced", EventConflict: "address-conflict", EventReturned: "returned",
	EventUnbound: "fast-unbound", EventExpired: "handover-expired", EventPeerRefused: "peer-refused",
	EventPeerAdjusted: "peer-adjusted",
}

// String is the name used in logs, status and the timeline.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return "unknown"
}

// Event is one thing worth telling a person. It never holds a key.
type Event struct {
	Kind   EventKind
	Home   netip.Addr    // previous care-of address
	CareOf netip.Addr    // new care-of address
	Router netip.Addr    // the other router: NAR at the PAR, PAR at the NAR and at the node
	Node   ipv6.LinkAddr // the node's link-layer address, if known
	Link   int
	Detail string // a constant sentence fragment
}
