package fmip

import (
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// routerCounter names one thing that the router counts.
type routerCounter uint8

// What the router counts: first what it does, then why it drops.
const (
	countNone routerCounter = iota // nothing to count
	countSolicits
	countAdverts
	countTriggers
	countKeyRequests
	countKeys
	countUpdates
	countUpdateRepeated
	countUpdateMoved
	countAcks
	countRefusals
	countBound
	countReturned
	countExpired
	countReleased
	countUnbound
	countRestored
	countHolds
	countHoldExpired
	countDrained
	countInitiates
	countInitiatesAgain
	countInitiatesAsked
	countHandoverAcks
	countAdjusted
	countInitiatesTaken
	countAcksToPeers
	countArrivals
	countArrivalsAgain
	countArrivalHolds
	countArrivalProxied
	countArrivalExpired
	countVouched
	countDADSolicits
	countConflicts
	countAnnounced
	countAnnouncedAgain
	countNeighborAcks
	countErrorAnswers

	dropNotOurs
	dropNoRandom
	dropAnswerLimited

	dropSolicitSource
	dropSolicitRateSource
	dropSolicitRate
	dropSolicitSuperseded
	dropKeyUnsecured
	dropKeyRepeat
	dropKeySource
	dropKeyNonce
	dropKeyPending
	dropKeyRefused
	dropKeyLate
	dropGrantUnknown

	dropEventLink
	dropEventStation
	dropEventNodes
	dropTriggerRate
	dropTriggerTarget

	dropUpdateRouting
	dropUpdateMalformed
	dropUpdateHome
	dropUpdateFlags
	dropUpdateAuth
	dropUpdatePrefix
	dropUpdateLink
	dropUpdateNeighbour
	dropUpdateAlternate
	dropUpdateSource
	dropUpdateKey
	dropUpdateSequence
	dropUpdateMAC
	dropUpdateNodes
	dropUpdateRate
	dropUpdatePending
	dropUpdateCareOf
	dropUpdateNeighbor
	dropUpdateInterfaceID
	dropUpdateNoFast
	dropAckKey
	dropForwardingFailed
	dropForwardingSuperseded
	dropForwardingUnasked

	dropInitiateBusy
	dropInitiatePeer
	dropInitiateUnanswered
	dropAckUnasked
	dropAckNumber
	dropAckRefused
	dropAckNoAddress

	dropPeerStranger
	dropPeerExtension
	dropPeerNoIPsec
	dropPeerNoKey
	dropPeerNoAuth
	dropPeerMAC
	dropPeerMalformed
	dropInitiateNumber
	dropAcceptNoFast
	dropAcceptCode
	dropAcceptNode
	dropAcceptPrefix
	dropAcceptRefused
	dropAcceptNodes
	dropAcceptAddress

	dropAnnounceLink
	dropAnnounceUnsecured
	dropAnnounceRepeat
	dropAnnounceSource
	dropAnnounceStranger
	dropAnnounceMalformed
	dropAnnounceUnknown
	dropProbeOwn
	dropConflictLate

	routerCounterCount
)

var routerCounterNames = [routerCounterCount]string{
	countSolicits:       "proxy_solicits_taken",
	countAdverts:        "proxy_adverts_sent",
	countTriggers:       "proxy_adverts_unsolicited",
	countKeyRequests:    "key_requests_passed_on",
	countKeys:           "key_replies_sent",
	countUpdates:        "fast_updates_taken",
	countUpdateRepeated: "fast_updates_repeated",
	countUpdateMoved:    "fast_updates_from_new_link",
	countAcks:           "fast_acks_sent",
	countRefusals:       "fast_acks_refusing",
	countBound:          "fast_bindings_made",
	countReturned:       "fast_bindings_deregistered",
	countExpired:        "fast_bindings_expired",
	countReleased:       "fast_bindings_given_up",
	countUnbound:        "fast_bindings_ended",
	countRestored:       "fast_nodes_restored",
	countHolds:          "leaver_holds",
	countHoldExpired:    "leaver_holds_expired",
	countDrained:        "holds_drained",
	countInitiates:      "initiates_sent",
	countInitiatesAgain: "initiates_sent_again",
	countInitiatesAsked: "initiates_asked_for",
	countHandoverAcks:   "handover_acks_taken",
	countAdjusted:       "peer_numbers_adjusted",
	countInitiatesTaken: "initiates_taken",
	countAcksToPeers:    "handover_acks_sent",
	countArrivals:       "arrivals_prepared",
	countArrivalsAgain:  "arrivals_asked_again",
	countArrivalHolds:   "arrival_holds",
	countArrivalProxied: "arrival_proxies",
	countArrivalExpired: "arrivals_expired",
	countVouched:        "arrivals_vouched",
	countDADSolicits:    "dad_solicits_sent",
	countConflicts:      "dad_conflicts",
	countAnnounced:      "announcements_taken",
	countAnnouncedAgain: "announcements_repeated",
	countNeighborAcks:   "neighbor_acks_sent",
	countErrorAnswers:   "mh_errors_answered",

	dropNotOurs:       "not_fmip",
	dropNoRandom:      "no_randomness",
	dropAnswerLimited: "answer_rate",

	dropSolicitSource:     "solicit_source",
	dropSolicitRateSource: "solicit_rate_source",
	dropSolicitRate:       "solicit_rate",
	dropSolicitSuperseded: "solicit_superseded",
	dropKeyUnsecured:      "key_request_not_secured",
	dropKeyRepeat:         "key_request_repeated",
	dropKeySource:         "key_request_source",
	dropKeyNonce:          "key_request_nonce",
	dropKeyPending:        "key_request_no_room",
	dropKeyRefused:        "key_request_refused",
	dropKeyLate:           "key_request_too_late",
	dropGrantUnknown:      "key_grant_not_awaited",

	dropEventLink:     "event_link",
	dropEventStation:  "event_unknown_station",
	dropEventNodes:    "event_node_limit",
	dropTriggerRate:   "trigger_rate",
	dropTriggerTarget: "trigger_unknown_target",

	dropUpdateRouting:        "update_routing_header",
	dropUpdateMalformed:      "update_malformed",
	dropUpdateHome:           "update_no_home_address",
	dropUpdateFlags:          "update_flags",
	dropUpdateAuth:           "update_no_authenticator",
	dropUpdatePrefix:         "update_not_in_prefix",
	dropUpdateLink:           "update_other_link",
	dropUpdateNeighbour:      "update_neighbour_mismatch",
	dropUpdateAlternate:      "update_alternate_care_of",
	dropUpdateSource:         "update_source",
	dropUpdateKey:            "update_no_key",
	dropUpdateSequence:       "update_sequence",
	dropUpdateMAC:            "update_bad_mac",
	dropUpdateNodes:          "update_node_limit",
	dropUpdateRate:           "update_rate",
	dropUpdatePending:        "update_pending",
	dropUpdateCareOf:         "update_care_of",
	dropUpdateNeighbor:       "update_no_neighbor",
	dropUpdateInterfaceID:    "update_interface_id",
	dropUpdateNoFast:         "update_neighbor_not_fast",
	dropAckKey:               "fast_ack_without_key",
	dropForwardingFailed:     "forwarding_failed",
	dropForwardingSuperseded: "forwarding_superseded",
	dropForwardingUnasked:    "forwarding_not_awaited",

	dropInitiateBusy:       "initiate_not_possible",
	dropInitiatePeer:       "initiate_neighbor_gone",
	dropInitiateUnanswered: "initiate_unanswered",
	dropAckUnasked:         "handover_ack_not_awaited",
	dropAckNumber:          "handover_ack_number",
	dropAckRefused:         "handover_ack_refusing",
	dropAckNoAddress:       "handover_ack_no_address",

	dropPeerStranger:   "peer_stranger",
	dropPeerExtension:  "peer_extension_header",
	dropPeerNoIPsec:    "peer_no_ipsec",
	dropPeerNoKey:      "peer_no_key",
	dropPeerNoAuth:     "peer_no_authenticator",
	dropPeerMAC:        "peer_bad_mac",
	dropPeerMalformed:  "peer_malformed",
	dropInitiateNumber: "initiate_number",
	dropAcceptNoFast:   "initiate_neighbor_not_fast",
	dropAcceptCode:     "initiate_code",
	dropAcceptNode:     "initiate_link_address",
	dropAcceptPrefix:   "initiate_not_in_prefix",
	dropAcceptRefused:  "initiate_link_refused",
	dropAcceptNodes:    "initiate_node_limit",
	dropAcceptAddress:  "initiate_address_in_use",

	dropAnnounceLink:      "announce_link_source",
	dropAnnounceUnsecured: "announce_not_secured",
	dropAnnounceRepeat:    "announce_repeated",
	dropAnnounceSource:    "announce_source",
	dropAnnounceStranger:  "announce_other_link_source",
	dropAnnounceMalformed: "announce_malformed",
	dropAnnounceUnknown:   "announce_not_awaited",
	dropProbeOwn:          "probe_of_the_node",
	dropConflictLate:      "conflict_not_awaited",
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
