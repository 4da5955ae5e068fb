package lke

import (
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// nodeCount is one counter of a node: something that it did, or a reason for which it dropped something.
type nodeCount uint8

const (
	nodeSolicited nodeCount = iota
	nodeRouters
	nodeRequests
	nodeAcks
	nodeDADAnswers
	nodeDADRepeats
	nodeAssociated
	nodeRenewals
	nodeRestarts
	nodeUpdates
	nodeBound
	nodeFinished
	nodeDeregistered
	nodeHomeUpdates
	nodeHomeBound
	nodeExpired
	nodeLost
	nodeNoRandom
	nodeJobFailed
	nodeAnswers
	nodeDADDefended

	nodeDropOtherLink
	nodeDropOtherProtocol
	nodeDropOtherType
	nodeDropStaleJob
	nodeDropAdvertDetached
	nodeDropAdvertSender
	nodeDropAdvertRouter
	nodeDropAdvertCeased
	nodeDropAdvertPrefix
	nodeDropAdvertKey
	nodeDropAckHopLimit
	nodeDropAckAddress
	nodeDropAckUnasked
	nodeDropAckRouter
	nodeDropAckHome
	nodeDropAckMalformed
	nodeDropAckUnverified
	nodeDropAckRefused
	nodeDropAckDuplicate
	nodeDropSolicitTarget
	nodeDropSolicitPlain
	nodeDropDADMalformed
	nodeDropDADUnknown
	nodeDropDADRouter
	nodeDropDADMAC
	nodeDropDADLimited
	nodeDropDADEarly
	nodeDropNeighborTarget
	nodeDropNeighborOwn
	nodeDropNeighborAuthentic
	nodeDropNeighborIdle
	nodeNeighborConflict
	nodeDropUpdateAckUnknown
	nodeDropUpdateAckMalformed
	nodeDropUpdateAckMAC
	nodeDropUpdateAckPlain
	nodeDropUpdateAckError
	nodeDropUpdateAckUnasked
	nodeDropUpdateAckStale
	nodeUpdateRefused
	nodeCountEnd
)

var nodeCountNames = [nodeCountEnd]string{
	nodeSolicited:    "solicits_sent",
	nodeRouters:      "routers_found",
	nodeRequests:     "requests_sent",
	nodeAcks:         "acks_accepted",
	nodeDADAnswers:   "dad_answered",
	nodeDADRepeats:   "dad_answers_repeated",
	nodeAssociated:   "associations_valid",
	nodeRenewals:     "renewals_started",
	nodeRestarts:     "exchanges_restarted",
	nodeUpdates:      "updates_sent",
	nodeBound:        "updates_acknowledged",
	nodeFinished:     "finished_sent",
	nodeDeregistered: "bindings_deregistered",
	nodeHomeUpdates:  "home_updates_sent",
	nodeHomeBound:    "home_updates_acknowledged",
	nodeExpired:      "associations_expired",
	nodeLost:         "associations_lost",
	nodeNoRandom:     "no_randomness",
	nodeJobFailed:    "encryption_failed",
	nodeAnswers:      "solicitations_answered",
	nodeDADDefended:  "dad_defended",

	nodeDropOtherLink:          "drop_other_link",
	nodeDropOtherProtocol:      "drop_other_protocol",
	nodeDropOtherType:          "drop_mh_other_type",
	nodeDropStaleJob:           "drop_stale_job",
	nodeDropAdvertDetached:     "drop_ra_not_attached",
	nodeDropAdvertSender:       "drop_ra_sender",
	nodeDropAdvertRouter:       "drop_ra_other_router",
	nodeDropAdvertCeased:       "drop_ra_ceased",
	nodeDropAdvertPrefix:       "drop_ra_no_prefix",
	nodeDropAdvertKey:          "ra_unusable_key",
	nodeDropAckHopLimit:        "drop_keack_hop_limit",
	nodeDropAckAddress:         "drop_keack_address",
	nodeDropAckUnasked:         "drop_keack_unasked",
	nodeDropAckRouter:          "drop_keack_other_router",
	nodeDropAckHome:            "drop_keack_care_of",
	nodeDropAckMalformed:       "drop_keack_malformed",
	nodeDropAckUnverified:      "keack_unverified",
	nodeDropAckRefused:         "keack_refused",
	nodeDropAckDuplicate:       "drop_keack_duplicate",
	nodeDropSolicitTarget:      "drop_ns_other_target",
	nodeDropSolicitPlain:       "drop_ns_no_request",
	nodeDropDADMalformed:       "drop_dad_malformed",
	nodeDropDADUnknown:         "drop_dad_no_association",
	nodeDropDADRouter:          "drop_dad_other_router",
	nodeDropDADMAC:             "drop_dad_bad_mac",
	nodeDropDADLimited:         "drop_dad_repeated",
	nodeDropDADEarly:           "dad_before_keack",
	nodeDropNeighborTarget:     "drop_na_other_target",
	nodeDropNeighborOwn:        "drop_na_own",
	nodeDropNeighborAuthentic:  "drop_na_authentic",
	nodeDropNeighborIdle:       "drop_na_no_association",
	nodeNeighborConflict:       "na_conflict",
	nodeDropUpdateAckUnknown:   "drop_ba_no_binding",
	nodeDropUpdateAckMalformed: "drop_ba_malformed",
	nodeDropUpdateAckMAC:       "drop_ba_bad_mac",
	nodeDropUpdateAckPlain:     "drop_ba_no_mac",
	nodeDropUpdateAckError:     "drop_ba_error_no_mac",
	nodeDropUpdateAckUnasked:   "drop_ba_unasked",
	nodeDropUpdateAckStale:     "drop_ba_stale_sequence",
	nodeUpdateRefused:          "updates_refused",
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
