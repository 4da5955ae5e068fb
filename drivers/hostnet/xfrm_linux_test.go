package hostnet

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

var (
	here  = netip.MustParseAddr("2001:db8:1::1")
	there = netip.MustParseAddr("2001:db8:2::99")
	now   = time.Unix(1_000_000, 0)
)

// saInfo is a struct xfrm_usersa_info: of a transport-mode association from src to dst.
func saInfo(src, dst netip.Addr, spi uint32, proto uint8) []byte {
	b := make([]byte, saInfoLen())
	family := uint16(unix.AF_INET6)
	if dst.Is4() {
		family = unix.AF_INET
	}
	binary.NativeEndian.PutUint16(b[40:], family) // of the selector
	copy(b[saDst:], dst.AsSlice())
	binary.BigEndian.PutUint32(b[saSPI:], spi)
	b[saProto] = proto
	copy(b[saSrc:], src.AsSlice())
	for i := range 4 {
		binary.NativeEndian.PutUint64(b[96+8*i:], ^uint64(0)) // no limits
	}
	binary.NativeEndian.PutUint16(b[saFamily:], family)
	return b
}

// withKey adds the authentication algorithm of an association: hmac(sha1) with a key of 20 octets.
func withKey(info []byte) []byte {
	alg := make([]byte, 68+20)
	copy(alg, "hmac(sha1)")
	binary.NativeEndian.PutUint32(alg[64:], 160)
	crypt := make([]byte, 68)
	copy(crypt, "ecb(cipher_null)")
	return append(info, attributes(func(ae *netlink.AttributeEncoder) {
		ae.Bytes(xfrmAuth, alg)
		ae.Bytes(xfrmCrypt, crypt)
	})...)
}

func saID(dst netip.Addr, spi uint32, proto uint8) []byte {
	b := make([]byte, saIDLen)
	copy(b, dst.AsSlice())
	binary.BigEndian.PutUint32(b[16:], spi)
	binary.NativeEndian.PutUint16(b[20:], unix.AF_INET6)
	b[22] = proto
	return b
}

func expiry(info []byte, hard byte) []byte { return append(info, hard, 0, 0, 0, 0, 0, 0, 0) }

func message(kind netlink.HeaderType, data []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: kind}, Data: data}
}

// LKE-AR-10 needs to know whether there is a valid IPsec security association with a node.
func TestSecurityAssociationsInTheMirror(t *testing.T) {
	m := newMirror()
	has := func(what string, addr netip.Addr, want bool) {
		t.Helper()
		if got := m.ends[addr] > 0; got != want {
			t.Errorf("%s: an association with %v: %v", what, addr, got)
		}
	}
	esp := func() []byte { return withKey(saInfo(here, there, 77, unix.IPPROTO_ESP)) }
	m.applyXFRM(message(xfrmNewSA, saInfo(here, there, 76, unix.IPPROTO_ESP)))
	has("a reserved SPI without a key", there, false)
	m.applyXFRM(message(xfrmNewSA, withKey(saInfo(here, there, 76, 108))))
	has("IPComp", there, false)
	m.applyXFRM(message(xfrmNewSA, esp()))
	has("ESP", there, true)
	has("the other end", here, true)
	has("a stranger", netip.MustParseAddr("2001:db8:2::98"), false)
	m.applyXFRM(message(xfrmUpdSA, esp()))
	m.applyXFRM(message(xfrmNewSA, withKey(saInfo(there, here, 78, unix.IPPROTO_AH))))
	m.applyXFRM(message(xfrmExpire, expiry(saInfo(here, there, 77, unix.IPPROTO_ESP), 0)))
	has("a soft expiry", there, true)
	m.applyXFRM(message(xfrmExpire, expiry(saInfo(here, there, 77, unix.IPPROTO_ESP), 1)))
	has("a hard expiry, while the other direction is there", there, true)
	m.applyXFRM(message(xfrmDelSA, saID(here, 99, unix.IPPROTO_AH)))
	has("another SPI is deleted", there, true)
	m.applyXFRM(message(xfrmDelSA, saID(here, 78, unix.IPPROTO_AH)))
	has("all are deleted", there, false)
	has("all are deleted", here, false)
	if len(m.sas) != 0 || len(m.ends) != 0 {
		t.Error("something is left")
	}
}

// With more associations than can be kept, every address might have one.
func TestTooManySecurityAssociations(t *testing.T) {
	h := &Host{mirror: newMirror()}
	for i := range uint32(maxAssociations + 1) {
		if h.HasSA(netip.MustParseAddr("2001:db8:77::1")) {
			t.Fatalf("a stranger has an association after %d", i)
		}
		h.mirror.applyXFRM(message(xfrmNewSA, withKey(saInfo(here, there, i+1, unix.IPPROTO_ESP))))
	}
	if !h.HasSA(netip.MustParseAddr("2001:db8:77::1")) {
		t.Error("an association that may be among the lost ones is denied")
	}
}

// The kernel's own associations are seen as they come and go.
func TestSecurityAssociationsOfTheKernel(t *testing.T) {
	_, ns := netlabtest.New(t, "router")
	router := ns[0]
	h := openIn(t, router, eventBuffer)
	if h.xfrm == nil {
		t.Skip("this kernel has no XFRM")
	}
	has := func(want bool) func() bool {
		return func() bool { return h.HasSA(there) == want && h.HasSA(here) == want }
	}
	if has(true)() {
		t.Error("there is an association before there is one")
	}
	// A reservation of an SPI is none: nobody has a key yet. The kernel tells of it when it is asked for all.
	reservation := append(saInfo(there, here, 0, unix.IPPROTO_ESP), make([]byte, 8)...)
	binary.NativeEndian.PutUint32(reservation[saInfoLen():], 0x100)
	binary.NativeEndian.PutUint32(reservation[saInfoLen()+4:], 0x200)
	check(t, xfrm(router, 0x16, reservation)) // XFRM_MSG_ALLOCSPI
	check(t, h.readXFRM())
	if has(true)() {
		t.Error("a reservation passes for an association")
	}
	err := xfrm(router, xfrmNewSA, withKey(saInfo(here, there, 77, unix.IPPROTO_ESP)))
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Skip("this kernel has no ESP for IPv6, so there can be no association")
	}
	check(t, err)
	netlabtest.Await(t, "the new association", has(true))
	other := openIn(t, router, eventBuffer)
	if !other.HasSA(there) {
		t.Error("an association from before the start is not known")
	}
	check(t, xfrm(router, xfrmDelSA, saID(there, 77, unix.IPPROTO_ESP)))
	netlabtest.Await(t, "the association is deleted", has(false))
	// One with a lifetime of one second in use from now ends by itself.
	short := withKey(saInfo(here, there, 78, unix.IPPROTO_ESP))
	binary.NativeEndian.PutUint64(short[96+40:], 1) // hard_add_expires_seconds
	check(t, xfrm(router, xfrmNewSA, short))
	netlabtest.Await(t, "the short association", has(true))
	netlabtest.Await(t, "its expiry", has(false))
	check(t, xfrm(router, xfrmNewSA, withKey(saInfo(here, there, 79, unix.IPPROTO_ESP))))
	netlabtest.Await(t, "a new association", has(true))
	check(t, xfrm(router, xfrmFlushSA, []byte{255})) // all protocols
	netlabtest.Await(t, "all are flushed", has(false))
}

func xfrm(ns *netlab.Namespace, kind netlink.HeaderType, data []byte) error {
	return ns.Request(unix.NETLINK_XFRM, message(kind, data))
}

// FuzzXFRM shows that no message of the kernel's, however broken, does more than be ignored.
func FuzzXFRM(f *testing.F) {
	f.Add(uint16(xfrmNewSA), withKey(saInfo(here, there, 77, unix.IPPROTO_ESP)))
	f.Add(uint16(xfrmExpire), expiry(saInfo(here, there, 77, unix.IPPROTO_ESP), 1))
	f.Add(uint16(xfrmNewPolicy), outbound().octets())
	f.Add(uint16(xfrmExpirePolicy), append(outbound().octets()[:policyInfoLen()], 1, 0, 0, 0, 0, 0, 0, 0))
	f.Add(uint16(xfrmDelPolicy), make([]byte, 64))
	f.Add(uint16(xfrmDelSA), saID(there, 77, unix.IPPROTO_ESP))
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		m := newMirror()
		m.applyXFRM(message(xfrmNewSA, withKey(saInfo(here, there, 77, unix.IPPROTO_ESP))))
		m.applyXFRM(message(xfrmNewPolicy, outbound().octets()))
		m.applyXFRM(message(xfrmNewPolicy, inbound().octets()))
		m.applyXFRM(message(netlink.HeaderType(kind), data))
		m.covers(here, there)
		if !slices.IsSortedFunc(m.policies, policy.compare) {
			t.Fatal("policies out of order")
		}
		total := 0
		for _, n := range m.ends {
			total += n
		}
		if total != 2*len(m.sas) {
			t.Fatalf("%d associations with %d ends", len(m.sas), total)
		}
	})
}

// FuzzRoute does the same for links, addresses, neighbours and routes.
func FuzzRoute(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWNEIGH), neighbour(unix.RTM_NEWNEIGH, 3, there, [6]byte{2}, unix.NUD_STALE, 0).Data)
	f.Add(uint16(unix.RTM_NEWADDR), address(3, netip.PrefixFrom(here, 64), 1, 2, 0).Data)
	f.Add(uint16(unix.RTM_NEWLINK), rename(3, "lan0").Data)
	f.Add(uint16(unix.RTM_DELLINK), append([]byte{unix.AF_BRIDGE}, rename(3, "lan0").Data[1:]...))
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		m := newMirror()
		m.links[3] = &linkState{link: Link{Index: 3, Name: "lan0"}}
		m.apply(now, message(netlink.HeaderType(kind), data))
		m.hidesDAD("lan0")
		decodeRoute(data)
		for _, s := range m.links {
			for _, a := range s.view(now).Addresses {
				if !a.Addr.Is6() || !a.Prefix.IsValid() {
					t.Fatalf("address %+v", a)
				}
			}
		}
	})
}
