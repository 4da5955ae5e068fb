package lke

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// EventKind names what an operator wants to see.
type EventKind uint8

// Events of the router and of the node, in the order in which a handover meets them.
const (
	EventRequested   EventKind = iota + 1 // a key exchange request was taken (router), or sent (node)
	EventAcknowledge                      // the acknowledgement was sent or accepted
	EventDADStarted                       // the solicitation was sent (router) or answered (node)
	EventDADFailed                        // no association: Detail says why
	EventAssociated                       // the association is valid
	EventReplayed                         // the cached advertisement was replayed
	EventUpdated                          // a binding update was taken (router) or sent (node)
	EventBound                            // the address is forwarded (router), the acknowledgement came (node)
	EventRefused                          // a binding update was answered with an error: Detail says which
	EventFinished                         // the Finished message came (router) or was sent (node)
	EventUnreachable                      // no Finished message: the binding ended
	EventUnbound                          // the binding ended
	EventExpired                          // the association ended
	EventRouterFound                      // node: a router was chosen
	EventHomeBound                        // node: the home agent has the care-of address
	EventLost                             // node: the association was given up: Detail says why
)

var eventNames = [...]string{
	EventRequested: "key-request", EventAcknowledge: "key-ack", EventDADStarted: "dad-start", EventDADFailed: "dad-failed",
	EventAssociated: "lbsa-valid", EventReplayed: "advert-replayed", EventUpdated: "binding-update", EventBound: "bound",
	EventRefused: "update-refused", EventFinished: "finished", EventUnreachable: "unreachable", EventUnbound: "unbound",
	EventExpired: "lbsa-expired", EventRouterFound: "router-found", EventHomeBound: "home-bound", EventLost: "lbsa-lost",
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
	Home   netip.Addr    // the node's address on the link of the exchange
	CareOf netip.Addr    // where it is now, for binding events
	Router netip.Addr    // the router's global address
	Node   ipv6.LinkAddr // the node's link-layer address, if known
	Link   int
	Detail string // a constant sentence fragment
}
