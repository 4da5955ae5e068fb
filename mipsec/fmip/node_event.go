package fmip

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// NodeEventKind names what somebody who looks at a node wants to see.
type NodeEventKind uint8

// Events of a node, in the order in which a handover meets them.
const (
	NodeEventRouter       NodeEventKind = iota + 1 // a router is used: Detail says how it is trusted
	NodeEventRouterLost                            // it serves no more
	NodeEventAddress                               // the care-of address can be used
	NodeEventDuplicate                             // another node has it
	NodeEventSolicited                             // RtSolPr sent
	NodeEventAdvertised                            // PrRtAdv taken: Detail says what it tells
	NodeEventTriggered                             // the router asks for a move
	NodeEventUpdated                               // Fast Binding Update sent
	NodeEventReady                                 // it was acknowledged on the old link: leave now
	NodeEventAnnounced                             // UNA sent
	NodeEventBound                                 // the router forwards to the link that the node is on
	NodeEventRefused                               // a router refused an update: Detail
	NodeEventStopped                               // a prepared move goes no further: Detail
	NodeEventReturned                              // the node is back, and the router knows it
	NodeEventUnbound                               // forwarding ended: Detail
	NodeEventAcknowledged                          // the new router answered the UNA: Detail
	NodeEventHomeUpdated                           // Binding Update to the home agent sent
	NodeEventHomeBound                             // the home agent acknowledged
	NodeEventLost                                  // an address is given up, with its key: Detail
)

var nodeEventNames = [...]string{
	NodeEventRouter: "router-found", NodeEventRouterLost: "router-lost", NodeEventAddress: "address-ready",
	NodeEventDuplicate: "address-duplicate", NodeEventSolicited: "proxy-solicit", NodeEventAdvertised: "proxy-advert",
	NodeEventTriggered: "handover-trigger", NodeEventUpdated: "fast-update", NodeEventReady: "fast-ack",
	NodeEventAnnounced: "announced", NodeEventBound: "fast-bound", NodeEventRefused: "fast-refused",
	NodeEventStopped: "handover-stopped", NodeEventReturned: "returned", NodeEventUnbound: "fast-unbound",
	NodeEventAcknowledged: "announce-answered", NodeEventHomeUpdated: "binding-update", NodeEventHomeBound: "home-bound",
	NodeEventLost: "address-lost",
}

// String is the name used in logs, status and the timeline.
func (k NodeEventKind) String() string {
	if int(k) < len(nodeEventNames) && nodeEventNames[k] != "" {
		return nodeEventNames[k]
	}
	return "unknown"
}

// NodeEvent is one thing worth telling a person. It never holds a key.
type NodeEvent struct {
	Kind   NodeEventKind
	Home   netip.Addr    // previous care-of address, or the one that the event is about
	CareOf netip.Addr    // new care-of address
	Router netip.Addr    // that it is about
	Point  ipv6.LinkAddr // access point, if it is about one
	Detail string        // a constant sentence fragment
}
