package fmip

import (
	"net/netip"

	"github.com/roamkey/roamkey/mipsec/mobility"
)

// updateCareOf gives the care-of address that the authenticator of a Fast Binding Update goes over: the previous one if it
// ends the binding, else the new one, which the Alternate Care-of Address option says before the source does (RFC 5568
// section 6.4.5 with RFC 6275 section 6.2.7).
func updateCareOf(m mobility.FastBindingUpdate, home, source netip.Addr) netip.Addr {
	switch {
	case m.Lifetime == 0:
		return home
	case m.AlternateCareOf.IsValid():
		return m.AlternateCareOf
	}
	return source
}

// ackCareOf gives the care-of address that the authenticator of a Fast Binding Acknowledgment goes over, in each copy of
// it: the one that it supplies, else that of the update which it answers (updateCareOf). A refusal has a lifetime of 0,
// too, which says nothing about the update.
func ackCareOf(m mobility.FastBindingAck, update netip.Addr) netip.Addr {
	if m.AlternateCareOf.IsValid() {
		return m.AlternateCareOf
	}
	return update
}
