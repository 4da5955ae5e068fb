package hostnet

import (
	"encoding/binary"
	"net/netip"
	"runtime"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages and groups of NETLINK_XFRM (linux/xfrm.h).
const (
	xfrmNewSA   = 0x10
	xfrmDelSA   = 0x11
	xfrmGetSA   = 0x12
	xfrmExpire  = 0x18
	xfrmUpdSA   = 0x1a
	xfrmFlushSA = 0x1c

	xfrmGroupExpire = 2
	xfrmGroupSA     = 3
)

// Attributes that hold an algorithm.
const (
	xfrmAuth      = 1
	xfrmCrypt     = 2
	xfrmAEAD      = 18
	xfrmAuthTrunc = 20
)

// Offsets in struct xfrm_usersa_info: the selector comes first.
const (
	saDst    = 56
	saSPI    = 72
	saProto  = 76
	saSrc    = 80
	saFamily = 212
	saIDLen  = 24 // struct xfrm_usersa_id
)

// saInfoLen is the length of struct xfrm_usersa_info. Its widest members are aligned to 8 octets but on i386.
func saInfoLen() int {
	if runtime.GOARCH == "386" {
		return 220
	}
	return 224
}

// saKey names one security association as the kernel does.
type saKey struct {
	dst   netip.Addr
	spi   uint32
	proto uint8
}

// association is one security association of ESP or AH that is more than a reservation: it has an algorithm.
type association struct {
	key saKey
	src netip.Addr
}

// decodeSA reads a struct xfrm_usersa_info with its attributes.
func decodeSA(data []byte) (a association, ok bool) {
	a, ok = decodeSAInfo(data)
	if !ok {
		return a, false
	}
	ad, err := netlink.NewAttributeDecoder(data[saInfoLen():])
	if err != nil {
		return a, false
	}
	algorithm := false
	for ad.Next() {
		switch ad.Type() {
		case xfrmAuth, xfrmCrypt, xfrmAEAD, xfrmAuthTrunc:
			algorithm = true
		}
	}
	return a, ad.Err() == nil && algorithm
}

func decodeSAInfo(data []byte) (a association, ok bool) {
	if len(data) < saInfoLen() {
		return a, false
	}
	family := binary.NativeEndian.Uint16(data[saFamily:])
	a.key = saKey{dst: xfrmAddr(data[saDst:], family), spi: binary.BigEndian.Uint32(data[saSPI:]), proto: data[saProto]}
	a.src = xfrmAddr(data[saSrc:], family)
	return a, a.key.dst.IsValid() && (a.key.proto == unix.IPPROTO_ESP || a.key.proto == unix.IPPROTO_AH)
}

// decodeSAID reads a struct xfrm_usersa_id.
func decodeSAID(data []byte) (k saKey, ok bool) {
	if len(data) < saIDLen {
		return k, false
	}
	k = saKey{
		dst: xfrmAddr(data, binary.NativeEndian.Uint16(data[20:])), spi: binary.BigEndian.Uint32(data[16:]), proto: data[22],
	}
	return k, k.dst.IsValid()
}

// decodeExpire reads a struct xfrm_user_expire. A soft expiry ends nothing: ok is false.
func decodeExpire(data []byte) (k saKey, ok bool) {
	if len(data) <= saInfoLen() || data[saInfoLen()] == 0 {
		return k, false
	}
	a, ok := decodeSAInfo(data)
	return a.key, ok
}

// xfrmAddr reads an xfrm_address_t. b has at least 16 octets.
func xfrmAddr(b []byte, family uint16) netip.Addr {
	switch family {
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b[:16]))
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.Addr{}
}
