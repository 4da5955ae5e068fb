package mobility

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"net/netip"
)

// SignBADF computes the authenticator of a FastBindingUpdate or FastBindingAck and stores it in the BADF option, which must
// end mh: the first octets of HMAC(key, careOf | router | mh), with mh's checksum taken as zero and the authenticator left
// out (RFC 5568 section 6.4.5). careOf is the new care-of address, or the previous one when the lifetime is 0; router is
// the previous access router. The checksum is not set. It fails with ErrMissing if mh does not end with an option for alg.
func SignBADF(mh, key []byte, careOf, router netip.Addr, alg FastMAC) error {
	at, ok := fastAuth(mh, alg)
	if !ok {
		return ErrMissing
	}
	mac := fastMAC(mh[:at], key, careOf, router, alg)
	copy(mh[at:], mac[:alg.Octets()])
	return nil
}

// VerifyBADF reports whether the authenticator that SignBADF would store is in mh. alg is the algorithm that goes with the
// key: a sender that chooses another is not believed. It takes the same time whichever octets differ and does not write to
// mh.
func VerifyBADF(mh, key []byte, careOf, router netip.Addr, alg FastMAC) bool {
	at, ok := fastAuth(mh, alg)
	if !ok {
		return false
	}
	mac := fastMAC(mh[:at], key, careOf, router, alg)
	return hmac.Equal(mac[:alg.Octets()], mh[at:])
}

// fastAuth gives the offset of the authenticator in mh, and whether mh ends with a BADF option for alg.
func fastAuth(mh []byte, alg FastMAC) (offset int, ok bool) {
	options := OptionsAt(mh, bindingOctets)
	for o, more := options.Next(); more; o, more = options.Next() {
		if o.Type == OptFastBindingAuth {
			a := parseFastAuth(mh, o)
			return o.Offset + 2 + fastAuthSPI, a.Last && a.MAC == alg
		}
	}
	return 0, false
}

// fastMAC is HMAC(key, careOf | router | mh with a checksum of zero); mh ends where the authenticator begins.
func fastMAC(mh, key []byte, careOf, router netip.Addr, alg FastMAC) []byte {
	var mac hash.Hash
	switch alg {
	case HMACSHA256:
		mac = hmac.New(sha256.New, key)
	default:
		mac = hmac.New(sha1.New, key)
	}
	return sumBinding(mac, mh, careOf, router)
}
