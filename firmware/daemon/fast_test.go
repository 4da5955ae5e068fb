package daemon

import (
	"bytes"
	"crypto/rsa"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// proxySolicit asks the router for an access point, with a key request if there is a key pair.
func (v *voice) proxySolicit(id uint16, point ipv6.LinkAddr, pair *rsa.PrivateKey) {
	v.b.t.Helper()
	m := ndp.ProxySolicit{Identifier: id, SourceLink: v.hw}
	m.Points.Add(point)
	var opts [][]byte
	if pair != nil {
		spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: pair.N.Bytes(), Exponent: pair.E})
		if err != nil {
			v.b.t.Fatal(err)
		}
		opts = append(opts, ndp.KeyRequest{PublicKey: spki}.Append(nil))
	}
	v.say(local(v.addr, v.b.ll(), m.Append(nil, v.addr, v.b.ll(), opts...)), nil)
}

// proxyAdvert waits for the answer.
func (v *voice) proxyAdvert(id uint16) (*ipv6.Packet, ndp.ProxyAdvert) {
	v.b.t.Helper()
	p := v.b.spoke("a proxy router advertisement", icmp(ndp.TypeFast, func(p *ipv6.Packet) bool {
		m, reason := ndp.ParseProxyAdvert(p)
		return reason == ndp.ReasonNone && m.Identifier == id
	}))
	m, _ := ndp.ParseProxyAdvert(p)
	return p, m
}

// keyed gives the host a handover key by RFC 5269.
func (v *voice) keyed() []byte {
	b := v.b
	b.t.Helper()
	pair, err := engine.GenerateKey(1024)
	if err != nil {
		b.t.Fatal(err)
	}
	v.proxySolicit(7, nextPoint, pair)
	p, m := v.proxyAdvert(7)
	if s := v.hear(p); !s.Secured || !s.Reply || !s.CGA || p.Src != b.ll() || p.Dst != v.addr {
		b.t.Fatalf("PrRtAdv from %v to %v proves nothing (%v), reply %v", p.Src, p.Dst, s.Why, s.Reply)
	}
	if m.Tuples.Len() != 1 || m.Tuples.At(0).Point != nextPoint || m.Tuples.At(0).Router != nextAR || !m.HasKeyReply {
		b.t.Fatalf("PrRtAdv of %d access points, with a key %v: %+v", m.Tuples.Len(), m.HasKeyReply, m.Tuples.At(0))
	}
	reply, err := ndp.ParseKeyReply(m.KeyReply)
	if err != nil {
		b.t.Fatal(err)
	}
	key, err := rsa.DecryptPKCS1v15(nil, pair, reply.EncryptedKey)
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

// fastUpdate is a Fast Binding Update of home, from where the node is.
func (b *secureBench) fastUpdate(home netip.Addr, key []byte, seq, lifetime uint16, at netip.Addr) []byte {
	b.t.Helper()
	m := mobility.FastBindingUpdate{
		Seq: seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, Auth: mobility.FastAuth{Present: true, MAC: mobility.HMACSHA1},
	}
	over := at
	if lifetime == 0 {
		over = home
	}
	mh := m.Append(nil)
	if err := mobility.SignBADF(mh, key, over, b.global(), mobility.HMACSHA1); err != nil {
		b.t.Fatal(err)
	}
	mobility.FixChecksum(mh, home, b.global())
	return ipv6.Append(nil, ipv6.Header{Src: at, Dst: b.global(), HopLimit: 64, HomeAddress: home}, ipv6.ProtoMobility, mh)
}

// uplink has the router receive a packet by another interface.
func (b *secureBench) uplink(packet []byte) {
	b.t.Helper()
	if !b.socket.Arrive(99, ipv6.LinkAddr{}, packet) {
		b.t.Fatalf("the packet did not arrive: %x", packet)
	}
}

// header chooses mobility headers of a type.
func header(typ uint8) func(p *ipv6.Packet) bool {
	return func(p *ipv6.Packet) bool { return p.Proto == ipv6.ProtoMobility && p.Payload[2] == typ }
}

func boundFast(s control.Snapshot) bool { return s.Fast != nil && len(s.Fast.Bindings) == 1 }

// fastBound gives a node a key and has it move.
func (b *secureBench) fastBound() (*voice, []byte) {
	b.t.Helper()
	b.served()
	v := b.voice()
	key := v.keyed()
	b.uplink(b.fastUpdate(v.addr, key, 1, 30, careOf))
	b.await("a fast binding", boundFast)
	return v, key
}

// From the request for a key by a signed RtSolPr (HK-AR-1 and after) to forwarding by a Fast Binding Update under it, its
// acknowledgement, and word to the new router.
func TestFromHandoverKeyToForwarding(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	v, key := b.fastBound()
	var kept []byte
	b.ask(func() { k, _, _ := b.d.keys.HandoverKey(v.addr); kept = slices.Clone(k) })
	if !bytes.Equal(kept, key) {
		t.Error("node and router have different keys")
	}
	want := forward.Binding{Home: v.addr, Router: b.global(), CareOf: careOf, Link: lanIndex}
	if got, ok := b.forward.Bound(v.addr); !ok || got != want {
		t.Errorf("forwarding %+v, want %+v", got, want)
	}
	p := b.spoke("an acknowledgement", header(mobility.TypeFBack))
	h, fault := mobility.Check(p, mobility.MinHeaderLen)
	ack, err := mobility.ParseFastBindingAck(h)
	if fault != mobility.FaultNone || err != nil || ack.Status != 0 || ack.Seq != 1 || !mobility.VerifyBADF(h.Octets, key, careOf, b.global(), mobility.HMACSHA1) {
		t.Errorf("acknowledgement %+v, %v, %v", ack, fault, err)
	}
	if hi := b.spoke("word to the new router", header(mobility.TypeHI)); hi.Dst != nextAR {
		t.Errorf("HI to %v", hi.Dst)
	}
	s := b.await("the handover", func(s control.Snapshot) bool { return len(s.Handovers) == 1 })
	if h := s.Handovers[0]; h.Protocol != "fmip" || h.Home != v.addr || h.CareOf != careOf || h.RouterUS <= 0 {
		t.Errorf("handover %+v", h)
	}
	if s.Fast.Keys != 1 || s.Fast.KeyList[0].Home != v.addr {
		t.Errorf("keys %+v", s.Fast)
	}
	var text strings.Builder
	if err := s.WriteText(&text, true); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{string(key), hexOf(key)} {
		if strings.Contains(text.String(), secret) || strings.Contains(b.log.String(), secret) {
			t.Error("a handover key stands in the status or the log")
		}
	}
	if n := strings.Count(b.log.String(), "level=INFO msg=fast-"); n != 1 {
		t.Errorf("one handover has %d lines at level info", n)
	}
}

// A request that is not signed gets no key and costs no RSA (HK-AR-2, HK-AR-20).
func TestNoHandoverKeyForTheUnsigned(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	v := b.voice()
	pair, err := engine.GenerateKey(1024)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: pair.N.Bytes(), Exponent: pair.E})
	if err != nil {
		t.Fatal(err)
	}
	m := ndp.ProxySolicit{Identifier: 9, SourceLink: v.hw}
	m.Points.Add(nextPoint)
	b.hears(v.hw, local(v.addr, b.ll(), m.Append(nil, v.addr, b.ll(), ndp.KeyRequest{PublicKey: spki}.Append(nil))))
	if _, m := v.proxyAdvert(9); m.HasKeyReply {
		t.Error("it has a key")
	}
	var keys int
	b.ask(func() { keys = b.d.keys.Len() })
	if keys != 0 || b.counter("send lan", "verify_jobs") != 0 {
		t.Errorf("%d keys, %d signatures verified", keys, b.counter("send lan", "verify_jobs"))
	}
}

// A lost encryption costs the key, and not the answer.
func TestLostEncryptionIsAnsweredWithoutAKey(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	v := b.voice()
	pair, err := engine.GenerateKey(1024)
	if err != nil {
		t.Fatal(err)
	}
	b.crypto.lose(engine.Encrypt)
	asked := time.Now()
	v.proxySolicit(3, nextPoint, pair)
	if _, m := v.proxyAdvert(3); m.HasKeyReply || m.Tuples.Len() != 1 {
		t.Errorf("a key %v, %d access points", m.HasKeyReply, m.Tuples.Len())
	}
	if took := time.Since(asked); took > time.Second {
		t.Errorf("it was answered after %v only: nobody was told of the loss", took)
	}
}

// After kill -9 the next process has the handover keys, and the fast bindings with their sequence numbers (see
// TestCrashLosesNothing).
func TestCrashLosesNoFastBinding(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	v, key := b.fastBound()
	b.kill()
	b.forward.Left = b.forward.Bindings()
	b.hush()
	b.start()
	s := b.await("the binding after the restart", boundFast)
	if s.Restart == nil || s.Restart.Keys != 1 || s.Restart.Bindings != 1 || s.Restart.Pause != 0 || s.Fast.Keys != 1 {
		t.Fatalf("restart %+v, %d keys", s.Restart, s.Fast.Keys)
	}
	if got, ok := b.forward.Bound(v.addr); !ok || got.CareOf != careOf {
		t.Fatalf("forwarding %+v", got)
	}
	elsewhere := netip.MustParseAddr("2001:db8:2::10")
	b.uplink(b.fastUpdate(v.addr, key, 1, 30, elsewhere))
	b.awaitCounter("fmip", "update_sequence", 1)
	if got, _ := b.forward.Bound(v.addr); got.CareOf != careOf {
		t.Error("a sequence number of before the crash moved the binding")
	}
	b.uplink(b.fastUpdate(v.addr, key, 2, 30, elsewhere))
	b.await("the next binding", func(control.Snapshot) bool { got, _ := b.forward.Bound(v.addr); return got.CareOf == elsewhere })
	if !b.socket.Arrive(lanIndex, v.hw, b.fastUpdate(v.addr, key, 3, 0, v.addr)) {
		t.Fatal("the update did not arrive")
	}
	b.await("the end of the binding", func(s control.Snapshot) bool { return !boundFast(s) })
	if _, ok := b.forward.Bound(v.addr); ok {
		t.Error("forwarded after the node came back")
	}
}

// Without a key nothing is forwarded (code-points F.5.5): neither an association of Local Key Exchange authorizes a Fast
// Binding Update, nor a handover key a Binding Update.
func TestKeysOfOneProtocolAreNoneOfTheOther(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	v, key, lkeKey := b.bothKeys()
	b.uplink(b.fastUpdate(v.addr, lkeKey, 1, 30, careOf))
	b.await("the refusal", func(s control.Snapshot) bool { return s.Counters["fmip"]["update_bad_mac"] > 0 })
	b.uplink(b.bindingUpdate(v.addr, key[:lke.KeyLen], 1, 100, careOf))
	b.awaitCounter("lke", "update_bad_mac", 1)
	if got := b.forward.Bindings(); len(got) != 0 {
		t.Errorf("forwarding %v", got)
	}
}

// bothKeys gives one address a handover key, and an association of Local Key Exchange as an earlier process left it.
func (b *secureBench) bothKeys() (v *voice, key, lkeKey []byte) {
	b.t.Helper()
	b.served()
	v = b.voice()
	key = v.keyed()
	r := lke.Record{Home: v.addr, Router: b.global(), Link: "lan", Node: v.hw, NodeLocal: ipv6.LinkLocalFrom(v.hw), Key: [lke.KeyLen]byte{1, 2, 3}}
	b.ask(func() {
		r.Expires = b.d.now().Add(time.Hour)
		b.d.carry(b.d.router.Restore(b.d.now(), []lke.Record{r}))
	})
	b.await("an association", valid)
	return v, key, r.Key[:]
}

func (b *secureBench) bindingUpdate(home netip.Addr, key []byte, seq, lifetime uint16, at netip.Addr) []byte {
	b.t.Helper()
	mh := mobility.BindingUpdate{Seq: seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, HasAuth: true}.Append(nil)
	if err := mobility.SignBAD(mh, key, at, b.global()); err != nil {
		b.t.Fatal(err)
	}
	mobility.FixChecksum(mh, home, b.global())
	return ipv6.Append(nil, ipv6.Header{Src: at, Dst: b.global(), HopLimit: 64, HomeAddress: home}, ipv6.ProtoMobility, mh)
}

// Both protocols bind the same address: the newer authenticated one wins, and the end of the older takes nothing from it
// (code-points F.5.6).
func TestNewerBindingWins(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	v, key, lkeKey := b.bothKeys()
	places := []netip.Addr{careOf, netip.MustParseAddr("2001:db8:2::11"), netip.MustParseAddr("2001:db8:2::12")}
	at := func(i int, protocol string, s control.Snapshot) bool {
		got, _ := b.forward.Bound(v.addr)
		return got.CareOf == places[i] && (s.LBSAs.Bound == 1) == (protocol == "lke") && boundFast(s) == (protocol == "fmip")
	}
	b.uplink(b.bindingUpdate(v.addr, lkeKey, 1, 100, places[0]))
	b.await("LKE's binding", func(s control.Snapshot) bool { return at(0, "lke", s) })
	b.uplink(b.fastUpdate(v.addr, key, 1, 1, places[1]))
	b.await("the fast one in its place", func(s control.Snapshot) bool { return at(1, "fmip", s) })
	b.uplink(b.bindingUpdate(v.addr, lkeKey, 2, 100, places[2]))
	b.await("LKE's in its place", func(s control.Snapshot) bool { return at(2, "lke", s) })
	// The fast one's lifetime, one second, ends: nothing changes.
	end := b.d.now().Add(1200 * time.Millisecond)
	b.await("the end of its lifetime", func(s control.Snapshot) bool {
		if !at(2, "lke", s) {
			t.Fatal("the end of the older binding took the newer one with it")
		}
		return b.d.now().After(end)
	})
	b.uplink(b.fastUpdate(v.addr, key, 2, 30, places[0]))
	b.await("the fast one again", func(s control.Snapshot) bool { return at(0, "fmip", s) })
}

// A flood of signed solicitations does not delay what asks for a handover: with all of it before the loop, and the RSA worker
// standing still, each update is carried out before the next message of the flood is looked at.
func TestFloodOfSolicitationsDelaysNoUpdate(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	v, key, lkeKey := b.bothKeys()
	b.crypto.set(false, true)
	flood := make([][]byte, 200)
	for i := range flood {
		flood[i] = v.sign(nsTo(v.addr, b.global(), v.hw), nil)
	}
	const updates = 12
	var waiting []int
	b.forward.Fail = func(forward.Binding) error {
		waiting = append(waiting, len(b.socket.Packets()))
		return nil
	}
	queued := 0
	b.ask(func() {
		for _, p := range flood {
			b.socket.Arrive(lanIndex, v.hw, p)
		}
		for i := range uint16(updates) {
			place := netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 2, 14: 1, 15: byte(i)})
			if i%2 == 0 {
				b.uplink(b.bindingUpdate(v.addr, lkeKey, 1+i, 100, place))
			} else {
				b.uplink(b.fastUpdate(v.addr, key, 1+i, 30, place))
			}
		}
		queued = len(b.socket.Packets())
	})
	b.await("the flood's end", func(control.Snapshot) bool { return len(b.socket.Packets()) == 0 })
	b.ask(func() {
		if len(waiting) != updates || queued != len(flood) {
			t.Fatalf("%d of %d updates were carried out, %d messages queued", len(waiting), updates, queued)
		}
		for i, n := range waiting {
			if n != queued {
				t.Errorf("update %d waited for %d messages of the flood", i, queued-n)
			}
		}
	})
	if s := b.await("status", func(control.Snapshot) bool { return true }); s.Links[0].SEND.Verifying > 64 {
		t.Errorf("%d messages wait for RSA", s.Links[0].SEND.Verifying)
	}
}

// As the new router: what comes for a node on its way is kept and its address defended, unsigned, for nobody can sign for
// another; with its announcement the packets go to it. Only a signed announcement makes a secured neighbour (RFC 3971 section 8).
func TestNewRouterAwaitsItsNode(t *testing.T) {
	t.Parallel()
	for _, signed := range []bool{false, true} {
		b := newSecureBench(t, secureSettings, false)
		b.served()
		v := b.voice()
		mh := mobility.HandoverInitiate{
			Seq: 5, Buffer: true, LinkAddr: v.hw, PreviousCareOf: netip.MustParseAddr("2001:db8:2::77"), NewCareOf: v.addr,
		}.Append(nil)
		mobility.FixChecksum(mh, nextAR, b.global())
		b.uplink(ipv6.Append(nil, ipv6.Header{Src: nextAR, Dst: b.global(), HopLimit: 64}, ipv6.ProtoMobility, mh))
		h, _ := mobility.ParseHeader(b.spoke("an answer to the HI", header(mobility.TypeHAck)).Payload)
		if ack, err := mobility.ParseHandoverAck(h); err != nil || ack.Code != mobility.HandoverAccepted {
			t.Fatalf("HAck %+v, %v", ack, err)
		}
		if got := b.hold.Calls(); !slices.Contains(got, "hold "+v.addr.String()) {
			t.Fatalf("kept: %q", got)
		}
		b.await("the proxy", func(control.Snapshot) bool { return b.socket.Watches(lanIndex, v.addr) })
		b.hears(nodeHW, nsTo(plainAddr, v.addr, nodeHW))
		p := b.spoke("a proxy's answer", icmp(ndp.TypeNeighborAdvert, about(v.addr)))
		if m, reason := ndp.ParseNeighborAdvert(p); reason != ndp.ReasonNone || m.Override || v.hear(p).Secured {
			t.Errorf("the proxy's answer: %+v, %v", m, reason)
		}
		una := naFrom(v.addr, ipv6.AllNodes(), 0, v.hw)
		if signed {
			una = v.sign(una, nil)
		}
		b.hears(v.hw, una)
		s := b.await("the neighbour", func(control.Snapshot) bool {
			e, there := b.neighbors.Entry(lanIndex, v.addr)
			return there && e.Hardware == v.hw
		})
		var entrySecured bool
		b.ask(func() { e, _ := b.d.links[0].secured.cache.Lookup(v.addr); entrySecured = e.Secured })
		if entrySecured != signed {
			t.Errorf("a UNA that is signed %v makes a neighbour that is secured %v (%d, %d)", signed, entrySecured, s.Links[0].SEND.Secured, s.Links[0].SEND.Unsecured)
		}
		b.await("the packets to be sent", func(control.Snapshot) bool { return slices.Contains(b.hold.Calls(), "drain "+v.addr.String()) })
		if err := b.hold.Finish(v.addr); err != nil {
			t.Error(err)
		}
		b.awaitCounter("fmip", "holds_drained", 1)
	}
}

// A reload changes access points, neighbours, and what fast handovers and SEND are told, and no binding or key is lost for it.
func TestReloadKeepsFastBindings(t *testing.T) {
	t.Parallel()
	text := secureSettings + `
config fmip 'fmip'
	option max_forwarding '60s'
	option requests_per_second '100'
`
	b := newSecureBench(t, text, false)
	v, key := b.fastBound()
	another := ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 0x22}
	ours := ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 0x11}
	code := func(id uint16, point ipv6.LinkAddr) uint8 {
		t.Helper()
		v.proxySolicit(id, point, nil)
		_, m := v.proxyAdvert(id)
		if m.Tuples.Len() != 1 {
			t.Fatalf("%d access points", m.Tuples.Len())
		}
		return m.Tuples.At(0).Code
	}
	keeps := func(what string) {
		t.Helper()
		s := b.await("the binding after "+what, boundFast)
		if got, ok := b.forward.Bound(v.addr); !ok || got.CareOf != careOf || s.Fast.Keys != 1 || !s.Links[0].Served {
			t.Errorf("%s: forwarding %+v, %d keys, served %v", what, got, s.Fast.Keys, s.Links[0].Served)
		}
	}
	if got := code(20, another); got != ndp.PointUnknown {
		t.Errorf("an access point of nobody has code %d", got)
	}
	b.reconfigure("list access_point '02:00:00:00:aa:02'", "list access_point '02:00:00:00:aa:02'\n\tlist access_point '02:00:00:00:aa:22'")
	keeps("another access point of the neighbour")
	if got := code(21, another); got != ndp.PointNew {
		t.Errorf("the neighbour's new access point has code %d", got)
	}
	b.reconfigure("list access_point '02:00:00:00:aa:01'", "list access_point '02:00:00:00:aa:11'")
	keeps("another access point of its own")
	if got := code(22, ours); got != ndp.PointCurrent {
		t.Errorf("the router's new access point has code %d", got)
	}
	b.reconfigure("max_forwarding '60s'", "max_forwarding '10s'")
	keeps("a shorter forwarding")
	b.hush()
	b.uplink(b.fastUpdate(v.addr, key, 2, 30, careOf))
	h, _ := mobility.ParseHeader(b.spoke("an acknowledgement", header(mobility.TypeFBack)).Payload)
	if ack, err := mobility.ParseFastBindingAck(h); err != nil || ack.Lifetime != 10 {
		t.Errorf("granted %d s, %v", ack.Lifetime, err)
	}
	b.reconfigure("option min_bits '1024'", "option min_bits '2048'")
	keeps("larger keys")
	b.hears(v.hw, v.sign(nsTo(v.addr, b.global(), v.hw), nil))
	b.await("a key that is too small now", func(s control.Snapshot) bool {
		return s.Counters["send lan"]["unsecured_key_too_small"]+s.Counters["send lan"]["dropped_key_too_small"] > 0
	})
	b.reconfigure("option min_bits '2048'", "option min_bits '1024'")
	b.reconfigure(b.text[strings.Index(b.text, "config neighbor"):strings.Index(b.text, "config fmip")], "")
	keeps("no neighbour")
	if got := code(23, another); got != ndp.PointUnknown {
		t.Errorf("an access point of a former neighbour has code %d", got)
	}
}

// What was journalled of a key says all of it.
func TestKeyRecordRoundTrip(t *testing.T) {
	r := handoverkey.Record{Home: plainAddr, Key: [handoverkey.MaxKeyLen]byte{1, 31: 9}, KeyLen: 32, AT: 1, Expires: time.Unix(0, 7e18), KeyHash: [16]byte{5}}
	octets := appendKey(nil, &r)
	got, err := parseKey(octets)
	if err != nil || got != r {
		t.Errorf("%v", err)
	}
	for n := range octets {
		if _, err := parseKey(octets[:n]); err == nil {
			t.Fatalf("%d of %d octets were accepted", n, len(octets))
		}
	}
}

// TestOperatorAsksForAHandover: the node is told by an advertisement that it did not ask for (RFC 5568 section 3.3), and the
// operator what cannot be.
func TestOperatorAsksForAHandover(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	v, _ := b.fastBound()
	client, err := control.Dial(b.d.config.Global.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Handover(careOf, ipv6.LinkAddr{}); err == nil || err.Error() != fmip.ErrUnknownNode.Error() {
		t.Errorf("a node without a key: %v", err)
	}
	if err := client.Handover(v.addr, ipv6.LinkAddr{2, 9, 9, 9, 9, 9}); err == nil || err.Error() != fmip.ErrUnknownPoint.Error() {
		t.Errorf("an access point that nobody has: %v", err)
	}
	if err := client.Handover(v.addr, ipv6.LinkAddr{}); err != nil {
		t.Error(err)
	}
	p := b.spoke("word of what is nearby", func(p *ipv6.Packet) bool {
		return p.Proto == ipv6.ProtoICMPv6 && p.Payload[0] == ndp.TypeFast && p.Payload[1] == ndp.ProxyNeighborhood
	})
	m, reason := ndp.ParseProxyAdvert(p)
	if reason != ndp.ReasonNone || m.Identifier != 0 || m.Tuples.Len() == 0 || p.Dst != v.addr {
		t.Errorf("advertisement to %v: %+v, %v", p.Dst, m, reason)
	}
}
