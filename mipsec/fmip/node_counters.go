package fmip

import (
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// nodeCount is one counter of a node: something that it did, or a reason for which it dropped something.
type nodeCount uint8

const (
	nodeSolicited nodeCount = iota
	nodeRouters
	nodeProxySolicits
	nodeProxyAdverts
	nodeProxyUnanswered
	nodeUpdates
	nodeBound
	nodeReady
	nodeAckCopies
	nodeRefused
	nodeUnanswered
	nodeReturned
	nodeStopped
	nodeArrivals
	nodeAnnounced
	nodeNeighborAcks
	nodeDuplicates
	nodeHomeUpdates
	nodeHomeBound
	nodeNoRandom

	nodeDropOtherLink
	nodeDropOtherProtocol
	nodeDropOtherType
	nodeDropAdvertDetached
	nodeDropAdvertSender
	nodeDropAdvertUnsecured
	nodeDropAdvertRouter
	nodeDropAdvertCeased
	nodeDropAdvertPrefix
	nodeDropPrefixUncovered
	nodeDropNeighborAck
	nodeDropKeyRequest
	nodeDropProxySender
	nodeDropProxyUnsecured
	nodeDropProxyUnasked
	nodeDropProxyTuple
	nodeDropUpdateKey
	nodeDropAckUnknown
	nodeDropAckMalformed
	nodeDropAckMAC
	nodeDropAckUnasked
	nodeCountEnd
)

var nodeCountNames = [nodeCountEnd]string{
	nodeSolicited:       "solicits_sent",
	nodeRouters:         "routers_found",
	nodeProxySolicits:   "proxy_solicits_sent",
	nodeProxyAdverts:    "proxy_adverts_accepted",
	nodeProxyUnanswered: "proxy_solicits_unanswered",
	nodeUpdates:         "fast_updates_sent",
	nodeBound:           "fast_updates_acknowledged",
	nodeReady:           "moves_prepared",
	nodeAckCopies:       "fast_acks_repeated",
	nodeRefused:         "updates_refused",
	nodeUnanswered:      "fast_updates_unanswered",
	nodeReturned:        "returned",
	nodeStopped:         "moves_stopped",
	nodeArrivals:        "arrived_as_prepared",
	nodeAnnounced:       "announces_sent",
	nodeNeighborAcks:    "announces_answered",
	nodeDuplicates:      "duplicate_addresses",
	nodeHomeUpdates:     "home_updates_sent",
	nodeHomeBound:       "home_updates_acknowledged",
	nodeNoRandom:        "no_randomness",

	nodeDropOtherLink:       "drop_other_link",
	nodeDropOtherProtocol:   "drop_other_protocol",
	nodeDropOtherType:       "drop_mh_other_type",
	nodeDropAdvertDetached:  "drop_ra_not_attached",
	nodeDropAdvertSender:    "drop_ra_sender",
	nodeDropAdvertUnsecured: "drop_ra_not_secured",
	nodeDropAdvertRouter:    "drop_ra_other_router",
	nodeDropAdvertCeased:    "drop_ra_ceased",
	nodeDropAdvertPrefix:    "drop_ra_no_prefix",
	nodeDropPrefixUncovered: "ra_prefix_not_certified",
	nodeDropNeighborAck:     "drop_naack",
	nodeDropKeyRequest:      "key_request_late",
	nodeDropProxySender:     "drop_proxy_advert_sender",
	nodeDropProxyUnsecured:  "drop_proxy_advert_not_secured",
	nodeDropProxyUnasked:    "drop_proxy_advert_unasked",
	nodeDropProxyTuple:      "proxy_advert_unusable",
	nodeDropUpdateKey:       "fast_update_without_key",
	nodeDropAckUnknown:      "drop_ack_no_binding",
	nodeDropAckMalformed:    "drop_ack_malformed",
	nodeDropAckMAC:          "drop_ack_bad_mac",
	nodeDropAckUnasked:      "drop_ack_unasked",
}

type nodeCounters struct {
	counts  [nodeCountEnd]uint64
	faults  [mobility.Faults]uint64
	reasons [ndp.Reasons]uint64
}

func (n *Node) count(c nodeCount) { n.counters.counts[c]++ }

// Counters yields each counter of the node, in an order that stays the same.
func (n *Node) Counters(yield func(name string, value uint64)) {
	for i, name := range nodeCountNames {
		yield(name, n.counters.counts[i])
	}
	for i := 1; i < len(n.counters.faults); i++ {
		yield("drop_"+mobility.Fault(i).String(), n.counters.faults[i])
	}
	for i := 1; i < len(n.counters.reasons); i++ {
		yield("drop_"+ndp.Reason(i).String(), n.counters.reasons[i])
	}
}
