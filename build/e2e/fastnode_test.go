package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// farNet is the prefix of a router that is not there: nodes that move to it are played on the uplink, as all that is said to it
// is heard there.
var (
	farNet    = netip.MustParsePrefix("2001:db8:c::/64")
	farRouter = netip.MustParseAddr("2001:db8:c::1")
	farPoint  = ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 2}
	farLink   = ipv6.LinkAddr{2, 0, 0, 0, 0, 2}
)

const fastPart = `
config fmip 'fmip'
	option initiate_timeout '20ms'
	option initiate_retries '1'
	option requests_per_second '100'
`

const farPart = `
config neighbor 'far'
	option address '2001:db8:c::1'
	list prefix '2001:db8:c::/64'
	option hardware '02:00:00:00:00:02'
	list access_point '02:00:00:00:aa:02'
	option protection 'PROTECTION'
	option key 'DIR/far.key'
`

// withFar adds a neighbour to the settings of a secureWorld.
func (w *secureWorld) withFar(protection string) {
	w.options.Settings += fastPart + strings.ReplaceAll(farPart, "PROTECTION", protection)
}

// router is what a node with SEND knows of its access router.
type fastRouter struct {
	local, global netip.Addr
	hardware      ipv6.LinkAddr
}

func (w *secureWorld) fastRouter() fastRouter {
	return fastRouter{w.local, w.global, w.access.Hardware}
}

// proxySolicit is a Router Solicitation for Proxy Advertisement from src, unsigned.
func proxySolicit(src netip.Addr, hw ipv6.LinkAddr, r fastRouter, points []ipv6.LinkAddr, opts ...[]byte) []byte {
	m := ndp.ProxySolicit{Identifier: 7, SourceLink: hw, Wildcard: len(points) == 0}
	for _, p := range points {
		m.Points.Add(p)
	}
	return icmp(src, r.local, m.Append(nil, src, r.local, opts...))
}

// keyRequest is option 27 for a public key.
func keyRequest(at uint8, key *rsa.PublicKey) []byte {
	return ndp.KeyRequest{AT: at, PublicKey: spkiOf(key)}.Append(nil)
}

// askKey asks for a handover key, and takes it (HK-MN-2, HK-MN-4). It gives the answer.
func (n *sendNode) askKey(r fastRouter, at uint8, pair *rsa.PrivateKey, points ...ipv6.LinkAddr) (ndp.ProxyAdvert, ndp.KeyReply) {
	n.t.Helper()
	mark := n.mark()
	n.say(proxySolicit(n.Home, n.Hardware, r, points, keyRequest(at, &pair.PublicKey)), nil, r.hardware)
	m := n.proxyAdvert(mark, r, true)
	if !m.HasKeyReply {
		n.t.Fatal("the answer has no handover key")
	}
	reply, err := ndp.ParseKeyReply(m.KeyReply)
	check(n.t, err)
	n.handover, err = rsa.DecryptPKCS1v15(nil, pair, reply.EncryptedKey) // HK-AR-6
	check(n.t, err)
	n.mac = mobility.FastMAC(reply.AT)
	return m, reply
}

// proxyAdvert waits for the PrRtAdv to the node that is signed by the router (HK-AR-10, HK-AR-11); with nonce it has the one that
// was sent (HK-AR-9).
func (n *sendNode) proxyAdvert(mark int, r fastRouter, nonce bool) ndp.ProxyAdvert {
	n.t.Helper()
	got := n.await(mark, ndp.TypeFast, "the proxy advertisement", func(p *received) bool { return p.Src == r.local && p.Dst == n.Home })
	m, reason := ndp.ParseProxyAdvert(&got.Packet)
	if reason != ndp.ReasonNone {
		n.t.Fatalf("proxy advertisement: %v", reason)
	}
	if !got.Secured || !got.Authorized || got.Reply != nonce || m.Identifier != 7 {
		n.t.Errorf("proxy advertisement: secured %v (%v), by a certified key %v, nonce %x, answer %v, identifier %d", got.Secured, got.Why, got.Authorized, m.Nonce, got.Reply, m.Identifier)
	}
	return m
}

// fastUpdate is a Fast Binding Update piece by piece.
type fastUpdate struct {
	mobility.FastBindingUpdate
	home, src, dst netip.Addr
	signedFor      netip.Addr // the care-of address in the authenticator
	key            []byte
	bend           func(mh []byte) []byte // before the checksum
	noHome, forged bool
}

// update is the node's next Fast Binding Update to a router: from where it is, src, for careOf. With lifetime 0 it ends the
// binding.
func (n *sendNode) update(r fastRouter, src, careOf netip.Addr, lifetime uint16) *fastUpdate {
	n.seq++
	u := &fastUpdate{home: n.Home, src: src, dst: r.global, signedFor: careOf, key: n.handover}
	u.FastBindingUpdate = mobility.FastBindingUpdate{
		Seq: n.seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, LinkAddr: n.Hardware,
		Auth: mobility.FastAuth{Present: true, MAC: n.mac},
	}
	if lifetime == 0 {
		u.signedFor = n.Home
	} else {
		u.AlternateCareOf = careOf
	}
	return u
}

// packet completes the update: its home address is in the Home Address option (HK-MN-7).
func (u *fastUpdate) packet() []byte {
	mh := u.Append(nil)
	if u.Auth.Present && u.key != nil {
		if err := mobility.SignBADF(mh, u.key, u.signedFor, u.dst, u.Auth.MAC); err != nil {
			panic(err)
		}
	}
	if u.bend != nil {
		mh = u.bend(mh)
	}
	h := ipv6.Header{Src: u.src, Dst: u.dst, HopLimit: 64, HomeAddress: u.home}
	from := u.home
	if u.noHome {
		h.HomeAddress, from = netip.Addr{}, u.src
	}
	mobility.FixChecksum(mh, from, u.dst)
	if u.forged {
		mh[4] ^= 1
	}
	return ipv6.Append(nil, h, ipv6.ProtoMobility, mh)
}

// acks matches Fast Binding Acknowledgements to an address.
func acks(to netip.Addr) func(*heard) bool {
	return both(mobilityType(mobility.TypeFBack), func(h *heard) bool { return h.Dst == to })
}

// fastAck waits for the acknowledgement of the node's last update at an address, and verifies it (HK-AR-21).
func (n *sendNode) fastAck(at *station, mark int, to, careOf netip.Addr, r fastRouter) mobility.FastBindingAck {
	n.t.Helper()
	h := at.hear(mark, "a fast binding acknowledgement", func(h *heard) bool {
		m, ok := parseFastAck(h)
		return acks(to)(h) && ok && m.Seq == n.seq
	})
	m, _ := parseFastAck(&h)
	if m.AlternateCareOf.IsValid() {
		careOf = m.AlternateCareOf
	}
	if !mobility.VerifyBADF(h.Payload, n.handover, careOf, r.global, n.mac) || h.Src != r.global {
		n.t.Errorf("HK-AR-21: the acknowledgement %+v from %v does not prove the key", m, h.Src)
	}
	return m
}

func parseFastAck(h *heard) (mobility.FastBindingAck, bool) {
	header, err := mobility.ParseHeader(h.Payload)
	if err != nil {
		return mobility.FastBindingAck{}, false
	}
	m, err := mobility.ParseFastBindingAck(header)
	return m, err == nil
}

// fastState is what a bad packet must not change, as text.
func fastState(s control.Snapshot) string { return forwardingState(s) + state(s) }

// forwardingState is keys, forwarding, what is kept, and the router's own addresses.
func forwardingState(s control.Snapshot) string {
	var text strings.Builder
	if s.Fast == nil {
		return ""
	}
	fmt.Fprintln(&text, s.Fast.Keys, "keys")
	for _, k := range s.Fast.KeyList {
		fmt.Fprintln(&text, "key", k.Home, k.AT)
	}
	for _, b := range s.Fast.Bindings {
		fmt.Fprintln(&text, "binding", b.Home, b.Router, b.Exit)
	}
	for _, h := range s.Fast.Held {
		fmt.Fprintln(&text, "held", h.Addr, h.Packets)
	}
	for _, l := range s.Links {
		if l.SEND != nil {
			fmt.Fprintln(&text, l.Name, l.SEND.Mode, l.SEND.Addresses)
		}
	}
	return text.String()
}

// keyOf is the handover key of an address, as status tells of it.
func keyOf(s control.Snapshot, home netip.Addr) *control.HandoverKey {
	if s.Fast == nil {
		return nil
	}
	for i := range s.Fast.KeyList {
		if s.Fast.KeyList[i].Home == home {
			return &s.Fast.KeyList[i]
		}
	}
	return nil
}

// bindingOf is where a previous care-of address is forwarded.
func bindingOf(s control.Snapshot, home netip.Addr) *control.FastBinding {
	if s.Fast == nil {
		return nil
	}
	for i := range s.Fast.Bindings {
		if s.Fast.Bindings[i].Home == home {
			return &s.Fast.Bindings[i]
		}
	}
	return nil
}

// randomKey is a handover key that nobody has given.
func randomKey() []byte {
	key := make([]byte, 20)
	rand.Read(key)
	return key
}

// moved waits until counters have gone on since a snapshot by what is wanted at least.
func (w *world) moved(before control.Snapshot, what string, want map[string]int64) control.Snapshot {
	w.t.Helper()
	var last map[string]int64
	s, err := w.d.Await(5*time.Second, what, func(s control.Snapshot) bool {
		last = changes(before, s)
		for name, n := range want {
			if last[name] < n {
				return false
			}
		}
		return true
	})
	if err != nil {
		w.t.Fatalf("%v: moved %v, want %v", err, last, want)
	}
	return s
}
