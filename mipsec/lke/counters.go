package lke

import (
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// routerCounter names one thing that the router counts.
type routerCounter uint8

// What the router counts: first what it does, then why it drops. A key that does not fit and a padding error have no
// names of their own (LKE-AR-6): both end as an exchange whose DAD fails.
const (
	countNone routerCounter = iota // nothing to count
	countRequests
	countKeys
	countAcks
	countRefusals
	countDADStarted
	countAdverts
	countValid
	countExpired
	countReplayed
	countProxied
	countUpdates
	countBound
	countDeregistered
	countUnbound
	countFinished
	countUnreachable
	countAckRepeated
	countErrorAcks
	countErrorAnswers
	countRestored

	dropNotOurs
	dropNoRandom

	dropRequestLink
	dropRequestRefused
	dropRequestHopLimit
	dropRequestSource
	dropRequestDestination
	dropRequestRouting
	dropRequestHome
	dropRequestLinkSource
	dropRequestMalformed
	dropRequestLifetime
	dropRequestPrefix
	dropRequestRouter
	dropRequestAnycast
	dropRequestBound
	dropRequestNeighbour
	dropRequestIPsec
	dropRequestOther
	dropRequestReplayed
	dropRequestNodes
	dropRequestRateLink
	dropRequestRate
	dropKeyLost
	dropKeyUnknown
	dropKeyLate

	dropDADNoReply
	dropDADMalformed
	dropDADNonce
	dropDADRouter
	dropDADMAC
	dropDADSource
	dropDADDestination
	dropDADLinkSource
	dropDADTooLong
	dropDADCompeting
	dropDADUnanswered
	dropDADBound
	dropDADLink

	dropNDOtherTarget
	dropNDOtherLink
	dropNDOwn
	dropNDFromNode
	dropNDUnasked
	dropNDNoDefence

	dropUpdateRouting
	dropUpdateSource
	dropUpdateMalformed
	dropUpdateUnknown
	dropUpdateMAC
	dropUpdateAlternate
	dropUpdateFlags
	dropUpdateSequence
	dropUpdateCareOf
	dropUpdateLifetime
	dropUpdateBusy
	dropUpdateForwarding
	dropErrorAckLimited
	dropAnswerLimited
	dropForwardingSuperseded
	dropForwardingUnasked

	dropFinishedRouting
	dropFinishedMalformed
	dropFinishedUnbound
	dropFinishedCareOf
	dropFinishedUnasked
	dropFinishedNonce
	dropFinishedSequence
	dropFinishedLifetime
	dropFinishedMAC
	dropFinishedStatus

	routerCounterCount
)

var routerCounterNames = [routerCounterCount]string{
	countRequests:     "requests_taken",
	countKeys:         "keys_received",
	countAcks:         "key_acks_sent",
	countRefusals:     "key_acks_refusing",
	countDADStarted:   "dad_started",
	countAdverts:      "dad_adverts_taken",
	countValid:        "associations_made",
	countExpired:      "associations_expired",
	countReplayed:     "adverts_replayed",
	countProxied:      "adverts_by_proxy",
	countUpdates:      "updates_taken",
	countBound:        "bindings_made",
	countDeregistered: "bindings_deregistered",
	countUnbound:      "bindings_ended",
	countFinished:     "finished_taken",
	countUnreachable:  "bindings_unreachable",
	countAckRepeated:  "binding_acks_repeated",
	countErrorAcks:    "binding_acks_refusing",
	countErrorAnswers: "mh_errors_answered",
	countRestored:     "associations_restored",

	dropNotOurs:  "not_lke",
	dropNoRandom: "no_randomness",

	dropRequestLink:        "request_link_not_served",
	dropRequestRefused:     "request_link_refused",
	dropRequestHopLimit:    "request_hop_limit",
	dropRequestSource:      "request_source",
	dropRequestDestination: "request_destination",
	dropRequestRouting:     "request_routing_header",
	dropRequestHome:        "request_no_home_address",
	dropRequestLinkSource:  "request_link_source",
	dropRequestMalformed:   "request_malformed",
	dropRequestLifetime:    "request_lifetime",
	dropRequestPrefix:      "request_not_in_prefix",
	dropRequestRouter:      "request_router_address",
	dropRequestAnycast:     "request_anycast_address",
	dropRequestBound:       "request_address_bound",
	dropRequestNeighbour:   "request_neighbour_mismatch",
	dropRequestIPsec:       "request_has_ipsec",
	dropRequestOther:       "request_other_link_source",
	dropRequestReplayed:    "request_replayed",
	dropRequestNodes:       "request_node_limit",
	dropRequestRateLink:    "request_rate_link_source",
	dropRequestRate:        "request_rate",
	dropKeyLost:            "key_queue_full",
	dropKeyUnknown:         "key_without_request",
	dropKeyLate:            "key_too_late",

	dropDADNoReply:     "dad_advert_without_reply",
	dropDADMalformed:   "dad_reply_malformed",
	dropDADNonce:       "dad_reply_nonce",
	dropDADRouter:      "dad_reply_router",
	dropDADMAC:         "dad_reply_mac",
	dropDADSource:      "dad_reply_source",
	dropDADDestination: "dad_reply_destination",
	dropDADLinkSource:  "dad_other_link_source",
	dropDADTooLong:     "dad_reply_too_long",
	dropDADCompeting:   "dad_competing_solicit",
	dropDADUnanswered:  "dad_unanswered",
	dropDADBound:       "dad_address_bound",
	dropDADLink:        "dad_link_gone",

	dropNDOtherTarget: "nd_other_target",
	dropNDOtherLink:   "nd_other_link",
	dropNDOwn:         "nd_own_packet",
	dropNDFromNode:    "nd_from_node_itself",
	dropNDUnasked:     "nd_advert_not_awaited",
	dropNDNoDefence:   "nd_nothing_to_defend",

	dropUpdateRouting:        "update_routing_header",
	dropUpdateSource:         "update_source",
	dropUpdateMalformed:      "update_malformed",
	dropUpdateUnknown:        "update_no_association",
	dropUpdateMAC:            "update_bad_mac",
	dropUpdateAlternate:      "update_alternate_care_of",
	dropUpdateFlags:          "update_no_home_flag",
	dropUpdateSequence:       "update_sequence",
	dropUpdateCareOf:         "update_care_of",
	dropUpdateLifetime:       "update_lifetime",
	dropUpdateBusy:           "update_busy",
	dropUpdateForwarding:     "update_forwarding_failed",
	dropErrorAckLimited:      "error_ack_rate",
	dropAnswerLimited:        "refusal_rate",
	dropForwardingSuperseded: "forwarding_superseded",
	dropForwardingUnasked:    "forwarding_not_awaited",

	dropFinishedRouting:   "finished_routing_header",
	dropFinishedMalformed: "finished_malformed",
	dropFinishedUnbound:   "finished_not_bound",
	dropFinishedCareOf:    "finished_care_of",
	dropFinishedUnasked:   "finished_not_awaited",
	dropFinishedNonce:     "finished_nonce",
	dropFinishedSequence:  "finished_sequence",
	dropFinishedLifetime:  "finished_lifetime",
	dropFinishedMAC:       "finished_bad_mac",
	dropFinishedStatus:    "finished_refusing",
}

// routerCounters holds the counters. One goroutine owns the router, so that they are plain numbers.
type routerCounters struct {
	own    [routerCounterCount]uint64
	faults [mobility.Faults]uint64
	nd     [ndp.Reasons]uint64
}

func (c *routerCounters) add(what routerCounter) { c.own[what]++ }

// each gives all counters in a stable order.
func (c *routerCounters) each(yield func(name string, value uint64)) {
	for i := countNone + 1; i < routerCounterCount; i++ {
		yield(routerCounterNames[i], c.own[i])
	}
	for i := 1; i < len(c.faults); i++ {
		yield(mobility.Fault(i).String(), c.faults[i])
	}
	for i := 1; i < len(c.nd); i++ {
		yield(ndp.Reason(i).String(), c.nd[i])
	}
}
