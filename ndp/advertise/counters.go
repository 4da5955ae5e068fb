package advertise

import (
	"strings"

	"github.com/roamkey/roamkey/ndp"
)

// counters count what was done and every drop.
type counters struct {
	unsolicited, solicited, unicast, final, leaving, packets uint64 // said

	solicits, solicitsSilent, joined, overHost, overLimit uint64
	badSolicits                                           [ndp.Reasons]uint64

	adverts, own, impersonated, conflicts, othersFull, reportsLost uint64
	badAdverts                                                     [ndp.Reasons]uint64

	otherType, otherLink, staleLost uint64
}

// Counters yields all counters in a stable order.
func (s *Speaker) Counters(yield func(name string, value uint64)) {
	c := &s.count
	yield("ra_sent_unsolicited", c.unsolicited)
	yield("ra_sent_solicited", c.solicited)
	yield("ra_sent_unicast", c.unicast)
	yield("ra_sent_final", c.final)
	yield("ra_sent_old_address", c.leaving)
	yield("ra_sent_packets", c.packets)
	yield("rs_received", c.solicits)
	yield("rs_joined", c.joined)
	yield("rs_over_host_limit", c.overHost)
	yield("rs_over_limit", c.overLimit)
	yield("rs_not_advertising", c.solicitsSilent)
	reasons("rs_", &c.badSolicits, yield)
	yield("ra_heard", c.adverts)
	yield("ra_own", c.own)
	yield("ra_impersonated", c.impersonated)
	yield("ra_conflicting", c.conflicts)
	yield("ra_routers_table_full", c.othersFull)
	yield("ra_reports_suppressed", c.reportsLost)
	reasons("ra_", &c.badAdverts, yield)
	yield("ra_stale_prefix_forgotten", c.staleLost)
	yield("nd_other_link", c.otherLink)
	yield("nd_not_for_speaker", c.otherType)
}

func reasons(prefix string, counts *[ndp.Reasons]uint64, yield func(name string, value uint64)) {
	for i, n := range counts {
		if r := ndp.Reason(i); r != ndp.ReasonNone && r != ndp.ReasonType && r != ndp.ReasonTarget {
			yield(prefix+strings.TrimPrefix(r.String(), "nd_"), n)
		}
	}
}
