package mobility

import (
	"crypto/hmac"
	"crypto/sha1"
	"hash"
	"net/netip"
)

// SignBAD computes the authenticator of RFC 6275 section 6.2.7 and stores it in the Binding Authorization Data option,
// which must be the last thing in mh: First(96, HMAC_SHA1(key, first | second | mh)), with mh's checksum taken as zero
// and the authenticator left out. key is Kbm, of 16 octets in LKE and of 20 in return routability. first is the care-of
// address and second the correspondent; LKE has the packet's source and destination there, in its BindingAck too. The
// checksum is not set. It fails with ErrMissing if mh does not end with the option.
func SignBAD(mh, key []byte, first, second netip.Addr) error {
	at, ok := bindingAuth(mh)
	if !ok {
		return ErrMissing
	}
	mac := bindingMAC(mh[:at], key, first, second)
	copy(mh[at:], mac[:authenticatorOctets])
	return nil
}

// VerifyBAD reports whether the authenticator that SignBAD would store is in mh. It is false also where the Binding
// Authorization Data is not the last option. It takes the same time whichever octets differ and does not write to mh.
func VerifyBAD(mh, key []byte, first, second netip.Addr) bool {
	at, ok := bindingAuth(mh)
	if !ok {
		return false
	}
	mac := bindingMAC(mh[:at], key, first, second)
	return hmac.Equal(mac[:authenticatorOctets], mh[at:])
}

// bindingAuth gives the offset of the authenticator in mh, and whether mh ends with a Binding Authorization Data option.
// Where a type's options begin is known for BU and BA; there the option is looked for in the walker's way, for its octets
// could stand in the middle of another one. The other messages' Parse functions look for themselves (AuthLast).
func bindingAuth(mh []byte) (offset int, ok bool) {
	at := len(mh) - 2 - authenticatorOctets
	if at < unit || mh[at] != OptBindingAuth || mh[at+1] != authenticatorOctets {
		return 0, false
	}
	if mh[2] == TypeBU || mh[2] == TypeBA {
		options := OptionsAt(mh, bindingOctets)
		for o, more := options.Next(); more; o, more = options.Next() {
			if o.Type == OptBindingAuth {
				return at + 2, o.Offset == at // the first one must be the last
			}
		}
		return 0, false
	}
	return at + 2, true
}

// bindingMAC is HMAC_SHA1(key, first | second | mh with a checksum of zero); mh ends where the authenticator begins.
func bindingMAC(mh, key []byte, first, second netip.Addr) []byte {
	return sumBinding(hmac.New(sha1.New, key), mh, first, second)
}

// sumBinding gives mac over first | second | mh with a checksum of zero. It hashes around the checksum: mh is shared.
func sumBinding(mac hash.Hash, mh []byte, first, second netip.Addr) []byte {
	a, b := first.As16(), second.As16()
	mac.Write(a[:])
	mac.Write(b[:])
	mac.Write(mh[:4])
	mac.Write([]byte{0, 0})
	mac.Write(mh[headOctets:])
	return mac.Sum(nil)
}

// SignKeyExchangeAck computes HMAC-SHA1(key, src | dst | home | mh) with mh's checksum and HMAC field taken as zero, and
// stores its 20 octets in mh's HMAC option. src and dst are the packet's link-local addresses, home is the mobile node's
// care-of address that goes into the routing header. The draft (section 3.2.2) says "over the whole packet"; this is
// what of a packet stays the same on its way. The checksum is not set. It fails with ErrMissing if there is no such
// option.
func SignKeyExchangeAck(mh, key []byte, src, dst, home netip.Addr) error {
	at, ok := keyExchangeAuth(mh)
	if !ok {
		return ErrMissing
	}
	copy(mh[at:], keyExchangeMAC(mh, at, key, src, dst, home))
	return nil
}

// VerifyKeyExchangeAck reports whether the HMAC that SignKeyExchangeAck would store is in mh. It takes the same time
// whichever octets differ and does not write to mh.
func VerifyKeyExchangeAck(mh, key []byte, src, dst, home netip.Addr) bool {
	at, ok := keyExchangeAuth(mh)
	if !ok {
		return false
	}
	return hmac.Equal(keyExchangeMAC(mh, at, key, src, dst, home), mh[at:at+keyExchangeMACOctets])
}

// keyExchangeAuth gives the offset of the HMAC: it is the data of the last option, which has 20 octets.
func keyExchangeAuth(mh []byte) (offset int, ok bool) {
	options := OptionsAt(mh, bindingOctets)
	for o, more := options.Next(); more; o, more = options.Next() {
		offset, ok = o.Offset+2, len(o.Data) == keyExchangeMACOctets
	}
	return offset, ok && options.Err() == nil
}

func keyExchangeMAC(mh []byte, at int, key []byte, src, dst, home netip.Addr) []byte {
	mac := hmac.New(sha1.New, key)
	for _, addr := range [3]netip.Addr{src, dst, home} {
		a := addr.As16()
		mac.Write(a[:])
	}
	mac.Write(mh[:4])
	mac.Write([]byte{0, 0})
	mac.Write(mh[headOctets:at])
	mac.Write(make([]byte, keyExchangeMACOctets))
	mac.Write(mh[at+keyExchangeMACOctets:])
	return mac.Sum(nil)
}
