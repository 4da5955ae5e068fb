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
	at, _, ok := fastAuth(mh, bindingOctets, alg)
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
	at, _, ok := fastAuth(mh, bindingOctets, alg)
	if !ok {
		return false
	}
	mac := fastMAC(mh[:at], key, careOf, router, alg)
	return hmac.Equal(mac[:alg.Octets()], mh[at:])
}

// SignHandover computes the authenticator of a HandoverInitiate or HandoverAck under the key of two routers and stores it in
// the BADF option, which must end mh with SPIPairKey and HMACSHA256: First(128, HMAC_SHA256(key, src | dst | mh)), with
// mh's checksum taken as zero and the authenticator left out. It is RFC 5568's formula (section 6.4.5) with the addresses of
// the packet in place of those of a binding, so that a message is good in one direction alone. The checksum is not set. It
// fails with ErrType or ErrMissing.
func SignHandover(mh, key []byte, src, dst netip.Addr) error {
	if !isHandover(mh) {
		return ErrType
	}
	at, ok := handoverAuth(mh)
	if !ok {
		return ErrMissing
	}
	mac := fastMAC(mh[:at], key, src, dst, HMACSHA256)
	copy(mh[at:], mac[:HMACSHA256.Octets()])
	return nil
}

// VerifyHandover reports whether the authenticator that SignHandover would store is in mh. It takes the same time whichever
// octets differ and does not write to mh. That mh is no replay the caller sees by its Number.
func VerifyHandover(mh, key []byte, src, dst netip.Addr) bool {
	if !isHandover(mh) {
		return false
	}
	at, ok := handoverAuth(mh)
	if !ok {
		return false
	}
	mac := fastMAC(mh[:at], key, src, dst, HMACSHA256)
	return hmac.Equal(mac[:HMACSHA256.Octets()], mh[at:])
}

// isHandover reports whether mh is a HandoverInitiate or HandoverAck by its type.
func isHandover(mh []byte) bool {
	return len(mh) >= headOctets && (mh[2] == TypeHI || mh[2] == TypeHAck)
}

// handoverAuth gives the offset of the authenticator in mh, and whether mh ends with a BADF option for a key of two routers.
func handoverAuth(mh []byte) (offset int, ok bool) {
	at, a, ok := fastAuth(mh, handoverOctets, HMACSHA256)
	return at, ok && a.SPI == SPIPairKey
}

// fastAuth gives the offset of the authenticator in mh, whose fixed part has fixed octets, and whether mh ends with a BADF
// option for alg.
func fastAuth(mh []byte, fixed int, alg FastMAC) (offset int, a FastAuth, ok bool) {
	options := OptionsAt(mh, fixed)
	for o, more := options.Next(); more; o, more = options.Next() {
		if o.Type == OptFastBindingAuth {
			a = parseFastAuth(mh, o)
			return o.Offset + 2 + fastAuthSPI, a, a.Last && a.MAC == alg
		}
	}
	return 0, FastAuth{}, false
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
