package neighbor

import "github.com/roamkey/roamkey/ndp"

// counter names one thing that the cache counts.
type counter uint8

// What the cache counts: first what it does, then why it drops.
const (
	countNone counter = iota
	countSolicits
	countAnswers
	countDADAnswers
	countProxyAnswers
	countResolved
	countConfirmed
	countFailed
	countLearned
	countSecured
	countEvicted
	countExpired
	countAddresses
	countDuplicates
	countLoops
	countRedirects

	dropType
	dropUnsecured
	dropOwnEcho
	dropOwnSource
	dropNotFresh
	dropOfSecured
	dropLinkAddress
	dropSolicitOther
	dropSolicitTentative
	dropSolicitProxyDAD
	dropUnsecuredDAD
	dropAdvertUnasked
	dropAdvertNoLink
	dropAdvertNoOverride
	dropConflict
	dropRouterMessage
	dropAskAddress
	dropAskRate
	dropAskAgain
	dropNoSource
	dropNoRandom
	dropFull
	dropSource
	dropOwnKnown

	counters
)

var counterNames = [counters]string{
	countSolicits:     "solicitations_sent",
	countAnswers:      "solicitations_answered",
	countDADAnswers:   "addresses_defended",
	countProxyAnswers: "solicitations_answered_by_proxy",
	countResolved:     "neighbours_resolved",
	countConfirmed:    "neighbours_confirmed",
	countFailed:       "neighbours_failed",
	countLearned:      "neighbours_learned",
	countSecured:      "neighbours_secured",
	countEvicted:      "neighbours_evicted",
	countExpired:      "neighbours_expired",
	countAddresses:    "addresses_taken",
	countDuplicates:   "addresses_duplicate",
	countLoops:        "dad_looped_back",
	countRedirects:    "redirects_passed_on",

	dropType:             "drop_other_type",
	dropUnsecured:        "drop_unsecured",
	dropOwnEcho:          "drop_own_echo",
	dropOwnSource:        "drop_own_source",
	dropNotFresh:         "drop_repeat_or_stale",
	dropOfSecured:        "drop_unsecured_of_secured",
	dropLinkAddress:      "drop_link_address",
	dropSolicitOther:     "drop_solicit_other_target",
	dropSolicitTentative: "drop_solicit_tentative",
	dropSolicitProxyDAD:  "drop_solicit_owner_dad",
	dropUnsecuredDAD:     "drop_unsecured_conflict",
	dropAdvertUnasked:    "drop_advert_unknown",
	dropAdvertNoLink:     "drop_advert_no_link_address",
	dropAdvertNoOverride: "drop_advert_no_override",
	dropConflict:         "drop_conflict_in_use",
	dropRouterMessage:    "drop_other_role",
	dropAskAddress:       "drop_ask_address",
	dropAskRate:          "drop_ask_rate",
	dropAskAgain:         "drop_ask_under_way",
	dropNoSource:         "drop_no_own_address",
	dropNoRandom:         "no_randomness",
	dropFull:             "drop_entries_full",
	dropSource:           "drop_entries_source",
	dropOwnKnown:         "drop_known_address",
}

// counts holds the counters. One goroutine owns the cache, so that they are plain numbers.
type counts struct {
	own [counters]uint64
	nd  [ndp.Reasons]uint64
}

func (c *counts) add(what counter) { c.own[what]++ }

// Counters gives every counter in a stable order: what the cache did, then why it dropped packets and questions.
func (c *Cache) Counters(yield func(name string, value uint64)) {
	for i := countNone + 1; i < counters; i++ {
		yield(counterNames[i], c.count.own[i])
	}
	for i := 1; i < len(c.count.nd); i++ {
		yield(ndp.Reason(i).String(), c.count.nd[i])
	}
}
