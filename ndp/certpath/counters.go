package certpath

import (
	"strings"

	"github.com/roamkey/roamkey/ndp"
)

// serverCounters count what the router does and every drop.
type serverCounters struct {
	received, sent, toAll, noPath         uint64
	overRate, noPathOverRate, noComponent uint64
	noAnchor, firstAnchor, badAnchor      uint64
	otherLink, otherNode, noAddress       uint64
	bad                                   [ndp.Reasons]uint64
}

// Counters gives every counter in a stable order: what the server did, then why it dropped solicitations.
func (s *Server) Counters(yield func(name string, value uint64)) {
	c := &s.count
	yield("cps_received", c.received)
	yield("cpa_sent", c.sent)
	yield("cpa_sent_no_path", c.noPath)
	yield("cpa_answers_to_all_nodes", c.toAll)
	yield("cps_over_rate", c.overRate)
	yield("cps_over_rate_no_path", c.noPathOverRate)
	yield("cps_no_such_component", c.noComponent)
	yield("cps_no_anchor", c.noAnchor)
	yield("cps_first_anchor_not_x501", c.firstAnchor)
	yield("cps_bad_anchor", c.badAnchor)
	yield("cps_other_link", c.otherLink)
	yield("cps_other_node", c.otherNode)
	yield("cps_no_own_address", c.noAddress)
	messageReasons("cps_", &c.bad, yield)
}

// messageReasons gives the counters of the reasons why messages of one type were not valid.
func messageReasons(prefix string, counts *[ndp.Reasons]uint64, yield func(name string, value uint64)) {
	for i, n := range counts {
		switch r := ndp.Reason(i); r {
		case ndp.ReasonNone, ndp.ReasonTarget, ndp.ReasonRedirect: // these messages cannot have
		default:
			yield(prefix+strings.TrimPrefix(r.String(), "nd_"), n)
		}
	}
}

// clientCounters count what the host does and every drop.
type clientCounters struct {
	hits, absentHits, outdated, discoveries, solicits, singles                  uint64
	adverts, verified, found, foundUnasked, abandoned, noPath, repeated, putOff uint64
	discoveriesFull, noRandom, solicitsLimited, verifyLimited, evicted          uint64
	gatheringsFull, gatheringFull, waitingFull, incomplete                      uint64
	unasked, otherIdentifier, otherNode, otherLink, badComponent                uint64
	refused                                                                     [Reasons]uint64
	bad                                                                         [ndp.Reasons]uint64
}

// Counters gives every counter in a stable order: what the client did, then why it dropped advertisements and certificates.
func (c *Client) Counters(yield func(name string, value uint64)) {
	n := &c.count
	yield("path_cache_hits", n.hits)
	yield("path_cache_hits_absent", n.absentHits)
	yield("path_cache_outdated", n.outdated)
	yield("path_cache_evicted", n.evicted)
	yield("path_discoveries", n.discoveries)
	yield("path_discoveries_abandoned", n.abandoned)
	yield("path_discoveries_full", n.discoveriesFull)
	yield("path_no_randomness", n.noRandom)
	yield("cps_sent", n.solicits)
	yield("cps_sent_for_components", n.singles)
	yield("cps_limited", n.solicitsLimited)
	yield("cpa_received", n.adverts)
	yield("cpa_no_path", n.noPath)
	yield("certificates_verified", n.verified)
	yield("certificates_waiting", n.putOff)
	yield("certificates_repeated", n.repeated)
	yield("paths_found", n.found)
	yield("paths_found_unasked", n.foundUnasked)
	yield("paths_incomplete", n.incomplete)
	yield("path_gatherings_full", n.gatheringsFull)
	yield("path_components_full", n.gatheringFull)
	yield("certificates_waiting_full", n.waitingFull)
	yield("certificates_limited", n.verifyLimited)
	yield("cpa_unasked", n.unasked)
	yield("cpa_other_identifier", n.otherIdentifier)
	yield("cpa_other_node", n.otherNode)
	yield("cpa_other_link", n.otherLink)
	yield("cpa_bad_component", n.badComponent)
	for i, v := range n.refused {
		if r := Reason(i); r != ReasonNone && r != ReasonEmpty {
			yield(r.String(), v)
		}
	}
	messageReasons("cpa_", &n.bad, yield)
}
