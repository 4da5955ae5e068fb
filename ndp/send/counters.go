package send

import "github.com/roamkey/roamkey/ndp"

// counter names one thing that an Endpoint counts.
type counter uint8

const (
	countReceived counter = iota
	countPathMessages
	countSecured
	countReplies
	countRepeats
	countKnownRepeats
	countStale
	countVerifyJobs
	countVerified
	countPathsAsked

	countSignJobs
	countSigned
	countSentUnsigned
	countSentProxy
	countSentPlain

	countOtherLink
	countPeersFull
	countPathsFull
	countUnknownJob
	countSendForm
	countSendOptions
	countSendAddress
	countSendRandom
	countSignBusy
	countSignFull
	countSignLost
	countSignLate
	countSignLength

	counterCount
)

var counterNames = [counterCount]string{
	countReceived:     "received",
	countPathMessages: "path_messages",
	countSecured:      "secured",
	countReplies:      "secured_replies",
	countRepeats:      "secured_repeats",
	countKnownRepeats: "repeats_without_rsa",
	countStale:        "secured_stale",
	countVerifyJobs:   "verify_jobs",
	countVerified:     "verified",
	countPathsAsked:   "paths_asked",

	countSignJobs:     "sign_jobs",
	countSigned:       "sent_signed",
	countSentUnsigned: "sent_without_address",
	countSentProxy:    "sent_for_others",
	countSentPlain:    "sent_unsigned",

	countOtherLink:   "dropped_other_link",
	countPeersFull:   "peers_full",
	countPathsFull:   "paths_full",
	countUnknownJob:  "job_unknown",
	countSendForm:    "not_sent_malformed",
	countSendOptions: "not_sent_has_options",
	countSendAddress: "not_sent_no_cga",
	countSendRandom:  "not_sent_no_random",
	countSignBusy:    "not_sent_source_limit",
	countSignFull:    "not_sent_limit",
	countSignLost:    "not_sent_queue_full",
	countSignLate:    "not_sent_too_late",
	countSignLength:  "not_sent_signature_length",
}

// counters holds the counters. One goroutine owns the endpoint, so that they are plain numbers.
type counters struct {
	own                [counterCount]uint64
	dropped, unsecured [reasonCount]uint64
	form               [ndp.Reasons]uint64
}

func (c *counters) add(what counter) { c.own[what]++ }

// Counters gives every counter in a stable order: what the endpoint did, why messages were dropped, and why others were
// delivered as unsecured.
func (e *Endpoint) Counters(yield func(name string, value uint64)) {
	c := &e.count
	for i, n := range c.own {
		yield(counterNames[i], n)
	}
	for r := ReasonNone + 1; r < reasonCount; r++ {
		yield(droppedNames[r], c.dropped[r])
	}
	for r := ReasonNone + 1; r < reasonCount; r++ {
		if !r.final() {
			yield(unsecuredNames[r], c.unsecured[r])
		}
	}
	for i := 1; i < len(c.form); i++ {
		yield(ndp.Reason(i).String(), c.form[i])
	}
}

var droppedNames, unsecuredNames = prefixed("dropped_"), prefixed("unsecured_")

func prefixed(prefix string) (names [reasonCount]string) {
	for r := range names {
		names[r] = prefix + reasonNames[r]
	}
	return names
}
