package handoverkey

// routerCounter names one thing that the router counts.
type routerCounter uint8

// What the router counts: first what it does, then why a request got no key.
const (
	countNone routerCounter = iota
	countRequests
	countKeys
	countReturned
	countExpired
	countTimedOut
	countRestored
	countForgotten

	dropUnsecured
	dropRepeat
	dropMalformed
	dropPublicKey
	dropKeySize
	dropSameKey
	dropAlgorithm
	dropFull
	dropRate
	dropNoRandom
	dropLost
	dropEncryption
	dropUnasked

	routerCounterCount
)

var routerCounterNames = [routerCounterCount]string{
	countRequests:  "key_requests",
	countKeys:      "keys_made",
	countReturned:  "keys_given_again",
	countExpired:   "keys_expired",
	countTimedOut:  "keys_ended_with_forwarding",
	countRestored:  "keys_restored",
	countForgotten: "keys_not_restored",

	dropUnsecured:  "request_not_secured",
	dropRepeat:     "request_repeated",
	dropMalformed:  "request_malformed",
	dropPublicKey:  "request_bad_public_key",
	dropKeySize:    "request_other_key_size",
	dropSameKey:    "request_cga_key_for_encryption",
	dropAlgorithm:  "request_algorithm_too_strong",
	dropFull:       "request_too_many_keys",
	dropRate:       "request_rate_limited",
	dropNoRandom:   "request_no_randomness",
	dropLost:       "encryption_lost",
	dropEncryption: "encryption_failed",
	dropUnasked:    "encryption_not_asked_for",
}

// Counters gives every counter in a stable order.
func (r *Router) Counters(yield func(name string, value uint64)) {
	for i := countNone + 1; i < routerCounterCount; i++ {
		yield(routerCounterNames[i], r.count[i])
	}
	yield("keys", uint64(len(r.keys)))
}

// nodeCounter names one thing that a node counts.
type nodeCounter uint8

// What a node counts.
const (
	countNodeKeys nodeCounter = iota
	countAsked
	countPairs
	countNodeExpired
	countDiscarded

	dropReplyUnsecured
	dropReplyUnauthorized
	dropReplyNonce
	dropReplyNone
	dropReplyMalformed
	dropReplyAlgorithm
	dropReplyWeaker
	dropDecryption
	dropPair
	dropPairUnasked

	nodeCounterCount
)

var nodeCounterNames = [nodeCounterCount]string{
	countNodeKeys:    "handover_keys",
	countAsked:       "handover_keys_asked_for",
	countPairs:       "handover_key_pairs_made",
	countNodeExpired: "handover_keys_expired",
	countDiscarded:   "handover_keys_discarded",

	dropReplyUnsecured:    "key_reply_not_secured",
	dropReplyUnauthorized: "key_reply_not_certified",
	dropReplyNonce:        "key_reply_not_asked_for",
	dropReplyNone:         "key_reply_without_key",
	dropReplyMalformed:    "key_reply_malformed",
	dropReplyAlgorithm:    "key_reply_unknown_algorithm",
	dropReplyWeaker:       "key_reply_weaker_algorithm",
	dropDecryption:        "key_decryption_late",
	dropPair:              "key_pair_failed",
	dropPairUnasked:       "key_pair_not_asked_for",
}

// Counters gives every counter in a stable order.
func (n *Node) Counters(yield func(name string, value uint64)) {
	for i := range nodeCounterCount {
		yield(nodeCounterNames[i], n.count[i])
	}
}
